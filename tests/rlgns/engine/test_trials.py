"""How Tune's trials share the hardware."""

from __future__ import annotations

import gc
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from rlgns.config.load import to_dict
from rlgns.config.schema import RunConfig
from rlgns.engine.trial_queue import FixedQueue, QueueSearcher
from rlgns.engine.trials import leave_removed_directory, run_trials, settings_of
from rlgns.machine.placement import Node, TrialShare
from rlgns.monitor.listener import Listener, Row, RunStart
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.engine.tiny import tiny


def starts(count: int) -> list[RunStart]:
    folder = RunFolder("nowhere")
    return [RunStart(game="pong", name=f"run{i}", folder=folder, config=tiny(), wandb_id="x") for i in range(count)]


def test_a_trial_without_remote_runners_fits_one_machine() -> None:
    (start,) = starts(1)
    trial = settings_of(TrialShare.of([Node(cpus=4), Node(cpus=4)], 1), start)["trial_config"]
    assert (trial.name, trial.placement.driver_cpus, trial.num_actions) == ("run0", 4.0, 6)


def test_tune_gets_so_many_runs_at_once_and_then_the_end() -> None:
    searcher = QueueSearcher(FixedQueue(starts(3)), lambda start: {"name": start.key}, most=2)
    assert searcher.suggest("a") == {"name": "run0"}
    assert searcher.suggest("b") == {"name": "run1"}
    assert searcher.suggest("c") is None
    assert searcher.end("a") == "run0"
    assert searcher.suggest("c") == {"name": "run2"}
    searcher.end("b")
    assert searcher.suggest("d") is None  # one is running and might call for another
    searcher.end("c")
    assert searcher.suggest("d") == QueueSearcher.FINISHED


def test_a_working_directory_that_is_removed_is_left_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.chdir(tmp_path)
    leave_removed_directory(said.append)
    assert (Path.cwd(), said) == (tmp_path, [])
    (tmp_path / "place").mkdir()
    os.chdir(tmp_path / "place")
    (tmp_path / "place").rmdir()
    for _ in range(2):
        leave_removed_directory(said.append)
    assert said == ["the working directory was removed; training continues without it"]


def test_memory_does_not_grow_with_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own manager keeps one reference an iteration, each to a result of 100 kB with RLlib's configuration."""
    monkeypatch.setenv("RAY_TMPDIR", tempfile.mkdtemp(dir="/tmp", prefix="t"))
    config = replace(tiny(), run=RunConfig(observations=30 * 32))
    folder = RunFolder(tmp_path / "run")
    folder.create(to_dict(config), {"game": "pong"})
    references: list[int] = []

    class Counting(Listener):
        def row(self, game: str, row: Row) -> None:
            references.append(sum(type(found) is ray.ObjectRef for found in gc.get_objects()))

    start = RunStart(game="pong", folder=folder, config=config, wandb_id="x")
    assert run_trials(FixedQueue([start]), Counting(), max_failures=0).faults == {}
    assert len(references) == 30 and references[-1] <= references[4] + 2


def test_a_trial_ends_well_where_it_cannot_see_tunes_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another node than the driver's. Tune recognises its folder by a mark, which this removes."""
    scratch = Path(tempfile.mkdtemp(dir="/tmp", prefix="t"))  # its path leaves room for Ray's sockets
    monkeypatch.setenv("RAY_TMPDIR", str(scratch))
    folder = RunFolder(tmp_path / "run")
    folder.create(to_dict(tiny()), {"game": "pong"})
    start = RunStart(game="pong", folder=folder, config=tiny(), wandb_id="x")

    class Hiding(Listener):
        def __init__(self) -> None:
            self.marks, self.said = 0, list[str]()

        def row(self, game: str, row: Row) -> None:
            for mark in scratch.glob("rlgns-*/tune/trials/.validate_storage_marker"):
                mark.unlink()
                self.marks += 1

        def message(self, text: str) -> None:
            self.said.append(text)

    listener = Hiding()
    outcome = run_trials(FixedQueue([start]), listener, max_failures=0)
    assert (outcome.faults, outcome.stopped, listener.said) == ({}, None, [])
    assert listener.marks == 1
    assert len(folder.metrics_path.read_text().splitlines()) == 4
    scratch.rmdir()  # nothing remains in it
