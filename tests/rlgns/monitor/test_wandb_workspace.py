"""The workspace's panels name keys that are logged, and the view reaches W&B's API whole."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import wandb

from rlgns.commands import cli
from rlgns.metrics.registry import WANDB_KEYS
from rlgns.monitor.flat_rows import flatten
from rlgns.monitor.wandb_panels import OPEN, PINNED, SECTIONS, Panel
from rlgns.monitor.wandb_workspace import build, spec
from tests.rows import make_probed_row

PANELS = [panel for panels in SECTIONS.values() for panel in panels]
pytestmark = pytest.mark.usefixtures("no_login")


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_panel_names_numbers_that_are_logged_in_one_unit(panel: Panel) -> None:
    assert bool(panel.keys) != bool(panel.pattern)
    assert all(WANDB_KEYS[key].kind in (int, float, bool) for key in panel.keys)
    assert len({WANDB_KEYS[key].unit for key in panel.keys}) <= 1
    logged = flatten(make_probed_row(150))
    assert not panel.pattern or any(re.fullmatch(panel.pattern, key) for key in logged)


def test_the_panels_asked_for_are_there() -> None:
    named = {key for panel in PANELS for key in panel.keys}
    assert {"score_mean", "reference/human_score", "reference/random_score"} <= named
    assert {"noise/now", "noise/now_low", "noise/now_high"} <= named
    assert {"critical_batch/predicted", "critical_batch/low", "critical_batch/high", "batch_observations"} <= named
    assert set(OPEN) <= set(SECTIONS) and set(PINNED) <= set(WANDB_KEYS)
    assert len({panel.title for panel in PANELS}) == len(PANELS)


def test_the_view_has_every_panel_over_observations() -> None:
    view = json.loads(spec(build("me", "mine")))["section"]
    sections = view["panelBankConfig"]["sections"]
    assert [section["name"] for section in sections] == [name for name, panels in SECTIONS.items() if panels]
    plots = [plot["config"] for section in sections for plot in section["panels"]]
    assert [plot.get("metrics", []) for plot in plots] == [list(panel.keys) for panel in PANELS]
    assert {plot["xAxis"] for plot in plots} == {"observations"} == {view["settings"]["xAxis"]}
    assert [plot.get("metricRegex", "") for plot in plots] == [panel.pattern for panel in PANELS]
    ids = [plot["__id__"] for section in sections for plot in section["panels"]]
    assert len(set(ids)) == len(ids)
    assert spec(build("me", "mine")) == spec(build("me", "mine"))


def test_json_needs_no_login(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "workspace.json"
    assert cli.main(["workspace", "--write", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}\n"
    assert json.loads(file.read_text())["section"]["panelBankConfig"]["sections"]
    for name, message in (
        (tmp_path / "config.yaml", "ends in .json"),
        (tmp_path / "no" / "x.json", "cannot be written"),
    ):
        assert cli.main(["workspace", "--write", str(name)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["workspace.json"]


def test_without_a_login_or_a_server_it_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["workspace"]) == 2
    assert capsys.readouterr().err == (
        "rlgns: W&B: not logged in, see `wandb login`; --write FILE.json writes the workspace without a login\n"
    )
    wandb.teardown()  # which has read its settings
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert cli.main(["workspace"]) == 2
    assert "http://127.0.0.1:9 cannot be reached" in capsys.readouterr().err


class Server(ThreadingHTTPServer):
    """Stands in for W&B's server, which does not run here: answers the three questions that installing asks."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.views: dict[str, dict[str, Any]] = {}
        """Saved views by name."""
        self.projects = {"rlgns"}
        self.knows_key = True

    def answer(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        if "query View(" in query:
            if given["projectName"] not in self.projects:
                return {"project": None}
            nodes = [view for name, view in self.views.items() if name == given["viewName"]]
            return {"project": {"allViews": {"edges": [{"node": view} for view in nodes]}}}
        if "mutation UpsertView2" in query:
            if given["name"] in self.views:
                assert given["id"] == self.views[given["name"]]["id"]
            view = {"id": "id1", "displayName": given["displayName"], "spec": given["spec"]}
            self.views[given["name"]] = view
            return {"upsertView": {"view": {"id": "id1", "name": given["name"]}, "inserted": True}}
        if not self.knows_key:
            return {"viewer": None}
        return {"viewer": {"id": "u", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": None}}


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._send({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path != "/graphql":
            self._send({})
            return
        asked = json.loads(body)
        self._send({"data": self.server.answer(asked["query"], asked.get("variables") or {})})

    def _send(self, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_installed_twice_it_is_one_view(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        for _ in range(2):
            assert cli.main(["workspace"]) == 0
            assert f":{server.server_port}/me/rlgns?nw=" in capsys.readouterr().out
        ((name, view),) = server.views.items()
        assert re.fullmatch("nw-[0-9a-f]{11}-v", name) and view["displayName"] == "rlgns"
        assert json.loads(view["spec"]) == json.loads(spec(build("me", "rlgns")))
        assert cli.main(["workspace", "--project", "rlgn"]) == 2
        assert "W&B: no project 'rlgn' of 'me' that this login may see" in capsys.readouterr().err
        assert len(server.views) == 1
        server.knows_key = False
        wandb.teardown()
        assert cli.main(["workspace"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("rlgns: W&B: ") and "credentials" in line
