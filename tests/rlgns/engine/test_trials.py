"""How trials share what there is."""

from __future__ import annotations

import pytest

from rlgns.engine.source import Listed, SourceSearcher
from rlgns.engine.trials import Share
from rlgns.folder import RunFolder
from rlgns.monitor.listener import RunStart
from tests.rlgns.engine.tiny import tiny


@pytest.mark.parametrize(
    ("resources", "most", "shared"),
    [
        ({"CPU": 2.0}, 1, (1, 2.0, 0.0)),
        ({"CPU": 2.0}, 3, (2, 1.0, 0.0)),  # never more than CPUs: the third waits
        ({"CPU": 2.0}, 0, (2, 1.0, 0.0)),
        ({"CPU": 7.0}, 2, (2, 3.0, 0.0)),
        ({"CPU": 16.0, "GPU": 2.0}, 0, (2, 8.0, 1.0)),
        ({"CPU": 16.0, "GPU": 1.0}, 4, (4, 4.0, 0.25)),
        ({}, 0, (1, 1.0, 0.0)),
    ],
)
def test_trials_at_once_share_what_there_is(
    resources: dict[str, float], most: int, shared: tuple[int, float, float]
) -> None:
    share = Share.of(resources, most, largest_node=2.0)
    assert (share.most, share.cpus, share.gpus) == shared


def starts(count: int) -> list[RunStart]:
    folder = RunFolder("nowhere")
    return [RunStart(game="pong", name=f"run{i}", folder=folder, config=tiny(), wandb_id="x") for i in range(count)]


def test_a_trial_without_remote_runners_fits_one_machine() -> None:
    (start,) = starts(1)
    trial = Share.of({"CPU": 8.0}, 1, largest_node=4.0).settings(start)["trial_config"]
    assert (trial.name, trial.cpus, trial.num_actions) == ("run0", 4.0, 6)


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
