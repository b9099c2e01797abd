"""Checkpoints of older versions are brought to today's shape."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest

from rlgns.config.load import to_dict
from rlgns.engine.progress import TrainingProgress
from rlgns.engine.ride_along import RideAlong
from rlgns.storage.checkpoint import migrate
from tests.rlgns.engine.tiny import tiny

State = dict[str, Any]


def today() -> State:
    progress = TrainingProgress(
        iteration=2, observations=64, num_envs=4, held_iterations=2, scores=(1.0, 2.0), episodes=2
    )
    measurement = RideAlong(tiny().noise, minibatches=2)
    for sums in (measurement._at_least, *measurement._run_averages.values()):
        sums.update(100.0, 16, 4)
    noise = measurement.state_dict()
    noise["size"] = {"value": 3.0, "group": 8}
    return {
        "config": to_dict(tiny()),
        **progress.as_dict(),
        "learner": {"noise": noise, "probe": {"views": {}, "budget": {}}},
    }


def noise_of(state: State) -> State:
    return state["learner"]["noise"]


def without_adaptive_batch(state: State) -> None:
    del state["num_envs"], state["held_iterations"]


def without_episodes(state: State) -> None:
    del state["episodes"]


def without_probe(state: State) -> None:
    del state["learner"]["probe"]


def without_group(state: State) -> None:
    del noise_of(state)["size"]["group"]


def without_ends(state: State) -> None:
    noise_of(state)["run_average"] = noise_of(state)["run_average"][""]


def without_lower_bound(state: State) -> None:
    del noise_of(state)["at_least"]


def without_roots(state: State) -> None:
    for sums in (noise_of(state)["at_least"], *noise_of(state)["run_average"].values()):
        del sums["root_sum"]


OLDER: list[Callable[[State], None]] = [
    without_adaptive_batch,
    without_episodes,
    without_probe,
    without_group,
    without_ends,
    without_lower_bound,
    without_roots,
]


def test_todays_shape_stays_as_it_is() -> None:
    assert migrate(today()) == today()


@pytest.mark.parametrize("make_older", OLDER)
def test_an_older_state_is_loaded(make_older: Callable[[State], None]) -> None:
    old = today()
    make_older(old)
    given = copy.deepcopy(old)
    state = migrate(old)
    assert old == given
    assert keys(state) == keys(today())
    progress = TrainingProgress.from_dict(state)
    assert (progress.iteration, progress.num_envs, progress.scores, progress.episodes) == (2, 4, (1.0, 2.0), 2)
    restored = RideAlong(tiny().noise, minibatches=2)
    restored.load_state_dict(noise_of(state))
    known = make_older not in (without_ends, without_roots)
    assert math.isfinite(restored.exchange_rate) == (make_older is not without_lower_bound)
    assert math.isfinite(restored._run_averages[""].gamma) == known


def keys(state: State) -> set[tuple[str, ...]]:
    """Returns the paths to all entries of the nested state, but those within the configuration and the probe."""
    found: set[tuple[str, ...]] = set()

    def collect(entry: Any, path: tuple[str, ...]) -> None:
        found.add(path)
        if isinstance(entry, dict) and path[-1:] not in {("config",), ("probe",)}:
            for key, value in entry.items():
                collect(value, (*path, key))

    collect(state, ())
    return found
