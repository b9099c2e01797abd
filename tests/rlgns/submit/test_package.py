"""What a job takes along, where its run goes, where jobs are submitted, and which keys are refused."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rlgns.errors import UserError
from rlgns.submit import package
from rlgns.submit.client import jobs_url
from rlgns.sweep.load import resolve_sweep


def test_what_is_packed_runs_by_itself(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: quick\nagent:\n  learning_rate: 0.001\n")
    folder = tmp_path / "job"
    folder.mkdir()
    command = package.pack(["config", "--config", str(mine), "--run.seed", "3"], folder)
    assert command == ["config", "--config", "submitted/mine.yaml", "--run.seed", "3"]
    assert not list(folder.rglob("*.pyc"))
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    assert (folder / "rlgns" / "agents" / "compute" / "team.py").is_file()
    assert (folder / "rlgns" / "envs" / "games.py").is_file()
    script = "import rlgns, importlib.metadata as m; print(rlgns.__file__, m.version('rlgns')); "
    script += "import rlgns.commands.cli as c; "
    script += f"raise SystemExit(c.main({command!r}))"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env={"PATH": "/usr/bin"}, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith(str(folder / "rlgns"))
    assert "learning_rate: 0.001\n" in ran.stdout and "image_size: 64\n" in ran.stdout and "seed: 3\n" in ran.stdout
    assert sum(path.stat().st_size for path in folder.rglob("*.py")) < 4_000_000


def test_a_preset_stays_a_name_and_equals_signs_are_understood(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: quick\n")
    (tmp_path / "job").mkdir()
    assert package.pack(["train", "--config", "ppo"], tmp_path / "job")[-1] == "ppo"
    (tmp_path / "other").mkdir()
    packed = package.pack(["train", f"--config={tmp_path / 'mine.yaml'}"], tmp_path / "other")
    assert packed == ["train", "--config=submitted/mine.yaml"]


def test_a_sweeps_file_is_packed_with_its_bases(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: quick\nagent: {rollout_steps: 16}\nsweep: {batches: [32, 64], goals: [1]}\n")
    (tmp_path / "job").mkdir()
    packed = package.pack(["sweep", "--config", str(mine), "--parallel", "2"], tmp_path / "job")
    assert packed == ["sweep", "--config", "submitted/mine.yaml", "--parallel", "2"]
    assert resolve_sweep(tmp_path / "job" / packed[2], {}) == resolve_sweep(mine, {})
    assert "base:" not in (tmp_path / "job" / packed[2]).read_text()
    (tmp_path / "other").mkdir()
    assert package.pack(["sweep", "--config", "breakout-quick"], tmp_path / "other")[-1] == "breakout-quick"


def test_the_shell_line_is_quoted_and_names_a_folder() -> None:
    line = package.entrypoint(["train", "--run.name", "a b; rm -rf $HOME"], "pong-1")
    assert line == (
        "exec python -m rlgns train --run.name 'a b; rm -rf $HOME' --out \"${RLGNS_RUNS:-$HOME/runs}/pong-1\""
    )
    assert package.entrypoint(["train", "--out=/shared/x"], "pong-1") == "exec python -m rlgns train --out=/shared/x"
    assert package.entrypoint(["train", "--resume", "/shared/x"], "y").endswith("--resume /shared/x")
    taken_over = package.entrypoint(["train", "--resume", "s3://bucket/x"], "x-1")  # from its mirror, into a new folder
    assert taken_over.endswith('--resume s3://bucket/x --out "${RLGNS_RUNS:-$HOME/runs}/x-1"')
    with pytest.raises(UserError, match="--out runs/x is relative"):
        package.entrypoint(["train", "--out", "runs/x"], "pong-1")


@pytest.mark.parametrize(
    ("address", "environment", "url"),
    [
        ("head", {"RAY_ADDRESS": "http://other:1"}, "http://head:8265"),
        ("head:9000", {}, "http://head:9000"),
        ("http://head", {}, "http://head:8265"),
        ("https://ray.example.org/team/", {}, "https://ray.example.org:443/team"),
        ("[::1]:8265", {}, "http://[::1]:8265"),
        ("ray://head:10001", {}, "http://head:8265"),
        (None, {"RAY_ADDRESS": "10.0.0.1:6379"}, "http://10.0.0.1:8265"),
        (None, {"RAY_ADDRESS": "http://10.0.0.1:9000"}, "http://10.0.0.1:9000"),
        (None, {"RAY_ADDRESS": "auto"}, "http://127.0.0.1:8265"),
        (None, {"RAY_ADDRESS": "x:1", "RAY_API_SERVER_ADDRESS": "http://y:2"}, "http://y:2"),
        (None, {}, "http://127.0.0.1:8265"),
    ],
)
def test_the_url_of_the_jobs_api(address: str | None, environment: dict[str, str], url: str) -> None:
    assert jobs_url(address, environment) == url


@pytest.mark.parametrize("address", ["", "http://", "head:port", "ftp://head", "http://user:password@head:8265"])
def test_a_bad_address_is_refused(address: str) -> None:
    with pytest.raises(UserError, match=r"--address: .* is not an address"):
        jobs_url(address, {})


class Dropping(BaseHTTPRequestHandler):
    """A head that answers with its version and then breaks every connection."""

    def do_GET(self) -> None:
        if self.path != "/api/version":
            return  # without an answer
        body = b'{"version": "4", "ray_version": "2.60.0", "ray_commit": ""}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@pytest.mark.parametrize(("arguments", "code"), [(["--job", "x"], 3), (["--", "train"], 2)])
def test_a_connection_that_breaks_at_the_start_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int
) -> None:
    from rlgns.commands import cli

    with ThreadingHTTPServer(("127.0.0.1", 0), Dropping) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert cli.main(["submit", "--address", f"http://127.0.0.1:{server.server_port}", *arguments]) == code
        server.shutdown()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning:" not in line]
    assert ("the connection was lost" if code == 3 else "did not take the job") in line


def test_a_wrong_address_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    from rlgns.commands import cli

    assert cli.main(["submit", "--address", "http://127.0.0.1:9", "--", "train"]) == 2
    assert capsys.readouterr().err == (
        "rlgns: http://127.0.0.1:9: nothing answers there; name the head's dashboard with --address http://HOST:8265\n"
    )
