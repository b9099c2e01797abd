"""Report and checkpoints as artifacts, with W&B's real client offline."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from rlgns.config.schema import Config, RunConfig, WandbConfig
from rlgns.monitor import wandb_artifacts
from rlgns.monitor.listener import RunStart
from rlgns.monitor.wandb_logger import WandbLogger
from rlgns.monitor.wandb_transaction_log import records
from rlgns.storage.run_folder import RunFolder
from tests.rows import make_row, make_run

pytestmark = pytest.mark.usefixtures("no_login")


def save(folder: RunFolder, iteration: int, *, kept: int = 1) -> None:
    """A checkpoint as training leaves it: a folder of its number, older ones removed."""
    path = folder.checkpoints_path / f"{iteration:08d}"
    path.mkdir(exist_ok=True)
    (path / "state.pt").write_bytes(b"state of %d" % iteration)
    for old in sorted(folder.checkpoints_path.iterdir())[:-kept]:
        (old / "state.pt").unlink()
        old.rmdir()


def session(folder: RunFolder, iterations: range, wanted: str, *, report: str = "") -> list[str]:
    """Rows, then a checkpoint and a report, then the end."""
    lines: list[str] = []
    wandb = WandbLogger(WandbConfig(mode="offline", artifacts=wanted), lines.append)
    config = Config(run=RunConfig(games=("pong",), name="quick"))
    wandb.start([RunStart(game="pong", folder=folder, config=config, wandb_id="idpong", first_row=folder.last_row())])
    for iteration in iterations:
        row = make_row(iteration)
        folder.append(row)
        wandb.row("pong", row)
    if iterations:
        save(folder, iterations[-1])
    if report:
        folder.report_path.unlink(missing_ok=True)  # training replaces it by a rename
        folder.report_path.write_text(report)
    wandb.end("done")
    return lines


def logged(folder: RunFolder) -> list[Any]:
    """The artifact records of all sessions, oldest first."""
    paths = sorted(folder.path.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    return [r.artifact for path in paths for r in records(path) if r.WhichOneof("record_type") == "artifact"]


def contents(artifact: Any) -> dict[str, bytes]:
    """What `wandb sync` will upload."""
    return {entry.path: Path(entry.local_path).read_bytes() for entry in artifact.manifest.contents}


def test_each_checkpoint_and_report_once_over_any_number_of_resumes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "pong", [])
    lines = session(folder, range(1, 4), "all", report="<p>3</p>")
    lines += session(folder, range(0), "all", report="<p>3, written again</p>")  # resumed a finished run
    lines += session(folder, range(4, 6), "all", report="<p>5</p>")
    assert all(line.startswith("W&B: offline") for line in lines)
    found = logged(folder)
    assert [(a.name, a.type, sorted(a.aliases)) for a in found] == [
        ("pong-idpong-checkpoint", "model", ["iteration-3", "latest"]),
        ("pong-idpong-report", "report", ["iteration-3", "latest"]),
        ("pong-idpong-checkpoint", "model", ["iteration-5", "latest"]),
        ("pong-idpong-report", "report", ["iteration-5", "latest"]),
    ]
    assert {a.run_id for a in found} == {"idpong"}
    # the first checkpoint and report are gone from the folder, and yet will be uploaded
    assert [contents(a) for a in found] == [
        {"state.pt": b"state of 3"},
        {"report.html": b"<p>3</p>"},
        {"state.pt": b"state of 5"},
        {"report.html": b"<p>5</p>"},
    ]
    for entry in found[0].manifest.contents:
        assert Path(entry.local_path).is_relative_to(folder.wandb_path)
    metadata = json.loads(found[2].metadata)
    assert (metadata["iteration"], metadata["game"]) == (5, "pong")
    assert metadata["observations"] == folder.rows()[-1]["observations"]


def test_the_report_alone_or_nothing(tmp_path: Path) -> None:
    for wanted, names in {"report": ["pong-idpong-report"], "none": []}.items():
        folder = make_run(tmp_path / wanted, [])
        session(folder, range(1, 3), wanted, report="<p></p>")
        assert [artifact.name for artifact in logged(folder)] == names


def test_checkpoints_go_along_while_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_artifacts, "CHECKPOINT_EVERY_S", 0.0)
    folder = make_run(tmp_path / "pong", [])
    save(folder, 2)
    session(folder, range(3, 6), "all")
    assert [sorted(artifact.aliases)[0] for artifact in logged(folder)] == ["iteration-2", "iteration-5"]


def test_what_cannot_be_handed_on_is_told_and_stops_nothing(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "pong", [])
    folder.wandb_path.mkdir()
    (folder.wandb_path / "artifacts").write_text("in the way")
    lines = session(folder, range(1, 3), "report", report="<p></p>")
    assert "W&B: pong: artifact not uploaded: " in lines[-1]
    assert logged(folder) == []


def test_words_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"wandb.artifacts must be one of none, report, all; got 'yes'"):
        dataclasses.replace(WandbConfig(), artifacts="yes")
