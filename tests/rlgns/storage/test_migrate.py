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
    for _ in range(3):
        measurement._run_average.update(grad_sq=1.0, trace=100.0, batch=16, steps=4, learning_rate=1e-4)
    noise = measurement.state_dict()
    noise["size"] = {"value": 3.0, "group": 8}
    return {
        "config": to_dict(tiny()),
        **progress.as_dict(),
        "learner": {"noise": noise, "by_loss": {}, "probe": {"views": {}, "budget": {}}},
    }


def noise_of(state: State) -> State:
    return state["learner"]["noise"]


def without_adaptive_batch(state: State) -> None:
    del state["num_envs"], state["held_iterations"]


def without_episodes(state: State) -> None:
    del state["episodes"]


def without_probe(state: State) -> None:
    del state["learner"]["probe"]


def without_losses(state: State) -> None:
    del state["learner"]["by_loss"]


def without_group(state: State) -> None:
    del noise_of(state)["size"]["group"]


def of_smoothed_scales(state: State) -> None:
    sums = {"min_steps": 2.0, "min_observations": 300.0, "root_sum": 9.0, "steps": 12.0, "counted_steps": 8.0}
    noise_of(state)["run_average"] = {"": sums, "_low": sums, "_high": sums}
    noise_of(state)["at_least"] = sums


def of_smoothed_scales_alone(state: State) -> None:
    noise_of(state)["run_average"] = {"min_steps": 2.0, "min_observations": 300.0}


OLDER: list[Callable[[State], None]] = [
    without_adaptive_batch,
    without_episodes,
    without_probe,
    without_losses,
    without_group,
    of_smoothed_scales,
    of_smoothed_scales_alone,
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
    again = make_older in (of_smoothed_scales, of_smoothed_scales_alone)  # the run average starts again
    assert math.isnan(restored._run_average.estimate().value) == again


def test_an_average_that_starts_anew_knows_the_learning_rate_before_annealing() -> None:
    """Else a checkpoint from late in an annealed run would take its small rate for the tuned one."""
    old = today()
    of_smoothed_scales(old)
    restored = RideAlong(tiny().noise, minibatches=2)
    restored.load_state_dict(noise_of(migrate(old)))
    agent, batch = tiny().agent, tiny().batch_observations
    for share in (0.4, 0.6, 0.6):
        restored._run_average.update(
            grad_sq=1.0, trace=50.0, batch=batch, steps=4, learning_rate=share * agent.learning_rate
        )
    assert restored._run_average.estimate().share == pytest.approx(1 / 3)  # the first counted row sets the size


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
