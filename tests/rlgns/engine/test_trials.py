"""How trials share what there is."""

from __future__ import annotations

from rlgns.engine.placement import Node, Share
from rlgns.engine.source import Listed, SourceSearcher
from rlgns.engine.trials import settings_of
from rlgns.folder import RunFolder
from rlgns.monitor.listener import RunStart
from tests.rlgns.engine.tiny import tiny


def starts(count: int) -> list[RunStart]:
    folder = RunFolder("nowhere")
    return [RunStart(game="pong", name=f"run{i}", folder=folder, config=tiny(), wandb_id="x") for i in range(count)]


def test_a_trial_without_remote_runners_fits_one_machine() -> None:
    (start,) = starts(1)
    trial = settings_of(Share.of([Node(cpus=4), Node(cpus=4)], 1), start)["trial_config"]
    assert (trial.name, trial.placement.driver_cpus, trial.num_actions) == ("run0", 4.0, 6)


def test_tune_is_given_so_many_runs_at_once_and_told_when_there_are_no_more() -> None:
    searcher = SourceSearcher(Listed(starts(3)), lambda start: {"name": start.key}, most=2)
    assert searcher.suggest("a") == {"name": "run0"}
    assert searcher.suggest("b") == {"name": "run1"}
    assert searcher.suggest("c") is None
    assert searcher.end("a") == "run0"
    assert searcher.suggest("c") == {"name": "run2"}
    searcher.end("b")
    assert searcher.suggest("d") is None  # one is under way and might call for another
    searcher.end("c")
    assert searcher.suggest("d") == SourceSearcher.FINISHED
