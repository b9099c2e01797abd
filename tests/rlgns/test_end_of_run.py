"""How a run ends where its disk is full, its files cannot be read or its folder is gone. No Ray: nothing is trained."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from rlgns.config.load import to_dict
from rlgns.config.schema import WandbConfig
from rlgns.engine.trials import Outcome
from rlgns.errors import ExitCode, UserError
from rlgns.monitor.listener import CompositeListener, Listener, RunStart
from rlgns.monitor.wandb_logger import WandbLogger
from rlgns.storage import checkpoint
from rlgns.storage.run_folder import RunFolder
from rlgns.training import _conclude, _extend, _from_where, _lost, _resumed, resume
from tests.rlgns.engine.tiny import tiny
from tests.rows import make_row


class Said(Listener):
    """Keeps the lines that a user would see."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    (disk / "filler").unlink(missing_ok=True)
    subprocess.run(["umount", "-l", str(disk)], check=True)  # W&B may keep its log open


def finished_run(path: Path) -> RunFolder:
    """Returns a run whose three iterations are logged and saved."""
    config = tiny()
    config = replace(config, run=replace(config.run, observations=3 * 1024), wandb=WandbConfig(mode="disabled"))
    folder = RunFolder(path)
    folder.create(to_dict(config), {"game": "pong", "wandb_id": "abc", "created": "2026-01-01T00:00:00"})
    for iteration in (1, 2, 3):
        folder.append(make_row(iteration))
    checkpoint.save(folder.checkpoints_path, 3, {"iteration": 3}, kept=1)
    return folder


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):  # No space left on device
        while True:
            file.write(b"x" * 4096)


def test_a_report_that_does_not_fit_on_the_disk_hides_neither_summary_nor_end(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = finished_run(small_disk / "run")
    fill(small_disk)
    assert resume(folder.path, patience_s=0) == ExitCode.DONE
    output = capsys.readouterr()
    assert "critical batch" in output.out
    expected = f"no report: cannot write {folder.report_path}: No space left on device (try again with: rlgns report "
    assert expected + f"{folder.path})" in output.err


def test_a_broken_line_of_metrics_is_told_at_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = finished_run(tmp_path / "run")
    content = folder.metrics_path.read_bytes()
    folder.metrics_path.write_bytes(b"broken\n" + content)
    assert resume(folder.path, patience_s=0) == ExitCode.DONE
    errors = capsys.readouterr().err
    assert f"no summary: {folder.metrics_path}: line 1 is not a row of metrics" in errors
    assert f"no report: {folder.metrics_path}: line 1 is not a row of metrics" in errors


def test_what_no_checkpoint_holds_is_told_beside_the_fault(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    assert _lost(folder) == ""
    folder.append(make_row(4))
    assert _lost(folder) == "no whole checkpoint holds iteration 4"
    folder.append(make_row(5))
    assert _lost(folder) == "no whole checkpoint holds iterations 4 to 5"
    folder.metrics_path.unlink()
    folder.metrics_path.mkdir()
    assert _lost(folder) == f"cannot read {folder.metrics_path}: Is a directory"


def test_a_removed_folder_is_a_fault_without_a_way_to_resume(tmp_path: Path) -> None:
    folder, said = finished_run(tmp_path / "run"), Said()
    shutil.rmtree(folder.path)
    lost = _lost(folder)
    assert lost == f"{folder.path} was removed during training, and what was trained with it"
    assert _conclude(Outcome(faults={"pong": lost}), [folder], folder.path, said) == ExitCode.FAULT
    assert said.lines == [f"rlgns: pong: {lost}"]


def test_a_disk_that_fills_under_wandb_is_a_line_without_tracebacks(
    small_disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", True)
    folder, said = finished_run(small_disk / "run"), Said()
    logger = WandbLogger(WandbConfig(mode="offline"), said.message)
    listener = CompositeListener([said, logger])
    listener.start([RunStart(game="pong", folder=folder, config=tiny(), wandb_id="abc")])
    fill(small_disk)
    logging.getLogger("wandb").info("a page of the log that has no place on the disk" + " " * 5000)
    listener.end("fault")
    assert "Traceback" not in capsys.readouterr().err
    assert all("\n" not in line for line in said.lines)


def test_a_run_says_where_it_resumes(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    checkpoint.save(folder.checkpoints_path, 3, {"iteration": 3, "observations": 3072}, kept=1)
    assert _from_where(_resumed(folder, {})) == "pong: resumes from 3,072 observations"
    folder.append(make_row(4))
    text = "pong: no whole checkpoint holds iteration 4; training repeats what is missing from 3,072 observations"
    assert _from_where(_resumed(folder, {})) == text
    shutil.rmtree(folder.checkpoints_path / "00000003")
    start = _resumed(folder, {})
    assert start.saved_observations == 0
    assert _from_where(start) == ("pong: no checkpoint was saved before the run was stopped; training starts from 0")


def test_a_run_is_extended_for_good_and_says_what_the_learning_rate_does(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "run")
    checkpoint.save(folder.checkpoints_path, 3, {"iteration": 3, "observations": 3072}, kept=1)
    with pytest.raises(UserError, match=r"--observations 3,000: .* has played 3,072 already; give at least as many"):
        _resumed(folder, {"run.observations": "3000"})
    assert _extend(_resumed(folder, {})) == ""
    rate = tiny().agent.learning_rate / 2
    assert _extend(_resumed(folder, {"run.observations": "6144"})) == (
        "pong: extended from 3,072 to 6,144 observations; the learning rate now falls to 0 at 6,144, so it continues "
        f"at {rate:.2g} instead of 0"
    )
    assert folder.config()["run"]["observations"] == 6144
    assert folder.about()["earlier_observations"] == [3072]
    assert folder.about()["wandb_id"] == "abc"
