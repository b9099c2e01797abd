"""TensorBoard's event files, through kills and resumes."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

from rlgns.config.schema import Config, OutputConfig, RunConfig
from rlgns.monitor.listener import RunStart
from rlgns.monitor.tensorboard_events import PATTERN, events, newest_step
from rlgns.monitor.tensorboard_logger import TensorBoardLogger
from rlgns.storage.run_folder import RunFolder
from tests.rows import make_probed_row, make_row, make_run


def start_of(folder: RunFolder, *, every_s: float = 0, resumed: bool = False) -> RunStart:
    config = Config(run=RunConfig(name="quick"), output=OutputConfig(tensorboard=True, log_every_s=every_s))
    first = folder.last_row() if resumed else None
    return RunStart(game="pong", folder=folder, config=config, wandb_id="x", resumed=resumed, first_row=first)


def session(folder: RunFolder, iterations: range, *, end: bool = True, **more: object) -> list[str]:
    lines: list[str] = []
    logger = TensorBoardLogger(lines.append)
    logger.start([start_of(folder, **more)])  # type: ignore[arg-type]
    for iteration in iterations:
        row = make_row(iteration)
        folder.append(row)
        logger.row("pong", row)
    if end:
        logger.end("done")
    return lines


def shown(folder: RunFolder, tag: str) -> dict[int, float]:
    """What TensorBoard shows: a session's start drops what came before from its step on."""
    points: dict[int, float] = {}
    for event in events(folder.path / "tensorboard"):
        if event.WhichOneof("what") == "session_log":
            points = {step: value for step, value in points.items() if step < event.step}
        for value in event.summary.value:
            if value.tag == tag:
                assert event.step not in points
                points[event.step] = value.simple_value
    return points


def test_every_row_is_there_once_after_kills_and_resumes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "pong", [])
    (line,) = session(folder, range(1, 6))
    assert line == f"TensorBoard: tensorboard --logdir {folder.path}"
    session(folder, range(6, 9), end=False, resumed=True)
    *_, newest = sorted((folder.path / "tensorboard").glob(PATTERN))
    newest.write_bytes(newest.read_bytes()[:-3])  # a kill tore the last event
    folder.append(make_row(9))  # and came before this row was reported
    session(folder, range(10, 13), resumed=True)
    rows = folder.rows()
    low = {row["observations"]: row["critical_batch/low"] for row in rows if row["critical_batch/low"] is not None}
    assert shown(folder, "critical_batch/low") == pytest.approx(low, rel=1e-6)  # in single precision
    assert list(shown(folder, "iteration").values()) == list(range(1, 13))
    assert list(shown(folder, "iteration")) == [row["observations"] for row in rows]
    assert "noise/ladder/256" in {value.tag for e in events(folder.path / "tensorboard") for value in e.summary.value}
    assert newest_step(folder.path / "tensorboard") == rows[-1]["observations"]


def test_rows_that_a_power_cut_took_are_shown_no_more(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "pong", [])
    session(folder, range(1, 9))
    lines = folder.metrics_path.read_bytes().splitlines(keepends=True)
    folder.metrics_path.write_bytes(b"".join(lines[:4]))
    session(folder, range(5, 7), resumed=True)
    session(folder, range(7, 8), resumed=True)
    assert list(shown(folder, "iteration").values()) == list(range(1, 8))


def test_a_row_per_interval_and_the_last_one_of_a_session(tmp_path: Path) -> None:
    """Rows are 3.2 s apart. Which ones are logged does not depend on the clock."""
    for cut in (2, 5, 20):
        folder = make_run(tmp_path / f"{cut}", [])
        session(folder, range(1, cut), every_s=10)
        session(folder, range(cut, 21), every_s=10, resumed=True)
        logged = list(shown(folder, "iteration").values())
        assert logged[-1] == 20
        assert cut - 1 in logged
        assert max(b - a for a, b in itertools.pairwise(logged)) <= 4
        assert len(logged) <= 7


def test_keys_of_a_row_that_was_held_back_come_with_the_next(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "pong", [])
    logger = TensorBoardLogger(lambda text: None)
    logger.start([start_of(folder, every_s=10)])
    for row in (make_row(30), make_probed_row(31), make_row(32), make_row(33), make_row(34)):
        logger.row("pong", row)
    assert list(shown(folder, "noise/policy/scale")) == [make_row(34)["observations"]]
    assert list(shown(folder, "iteration").values()) == [30, 34]
    logger.end("done")


def test_it_is_off_unless_asked_for_and_stops_nothing_where_it_cannot_write(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "pong", [])
    lines: list[str] = []
    logger = TensorBoardLogger(lines.append)
    off = dataclasses.replace(start_of(folder), config=Config(run=RunConfig(name="quick")))
    logger.start([off])
    logger.row("pong", make_row(1))
    assert not (folder.path / "tensorboard").exists()
    (folder.path / "tensorboard").write_text("in the way")
    logger.start([start_of(folder)])
    logger.row("pong", make_row(1))
    logger.end("done")
    (line,) = lines
    assert line.startswith("TensorBoard is off for pong: ")
