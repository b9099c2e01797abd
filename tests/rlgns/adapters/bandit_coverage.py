"""How often intervals hold the bandit's true noise scale, under any host.

A group's gradient is the mean of its observations' gradients, and there are only CONTEXTS x ACTIONS different ones: the
host's loss gives each of them once, and draws are then arithmetic. The first draws go through the host and its adapter
as well, and must give the same estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from rlgns.adapters.groups import split
from rlgns.noise import GradientSize, NoiseScaleEstimate, NoiseScaleTracker, moments_from_gram
from tests.rlgns.adapters.bandit import ACTIONS, CONTEXTS, STEPS, moments_of_table

DRAWS, REAL, ROLLOUTS, ENVS, GROUPS = 400, 3, 7, 48, 3

Rollout = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Contexts and actions, each [steps, environments]."""
Groups = Sequence[NDArray[np.int64]]
"""Of a rollout, observations env * STEPS + step of each group."""
Measured = Callable[[Sequence[Rollout], Sequence[Groups]], tuple[NoiseScaleEstimate, Sequence[Groups]]]
"""The host's and the adapter's own estimate from rollouts, with the groups that were asked for, or those it made."""


def computed(table: NDArray[np.float64], rollouts: Sequence[Rollout], groups: Sequence[Groups]) -> NoiseScaleEstimate:
    """The estimate from the table of gradients [contexts, actions, parameters]."""
    size, tracker = GradientSize(), NoiseScaleTracker(follows_run=True)
    for (contexts, actions), split_rollout in zip(rollouts, groups, strict=True):
        each = table[contexts.T.ravel(), actions.T.ravel()]
        gradients = np.stack([each[group].mean(0) for group in split_rollout])
        relative = size.divide(moments_from_gram(gradients @ gradients.T, len(split_rollout[0])))
        if relative is not None:
            tracker.update(relative)
    return tracker.estimate().scaled(size.value or 1.0)


def draw_rollouts(rng: np.random.Generator, chances: NDArray[np.float64]) -> list[Rollout]:
    """Rollouts of a policy with those chances [contexts, actions]; each environment keeps its context."""
    bounds, rollouts = chances.cumsum(1), []
    for _ in range(ROLLOUTS):
        contexts = np.tile(rng.integers(CONTEXTS, size=ENVS), (STEPS, 1))
        uniform = rng.random((STEPS, ENVS, 1))
        rollouts.append((contexts, np.minimum((uniform > bounds[contexts]).sum(2), ACTIONS - 1)))
    return rollouts


def coverage(table: NDArray[np.float64], chances: NDArray[np.float64], real: Measured) -> dict[str, float]:
    """Share of the draws whose interval holds the truth, with groups of environments and of shuffled observations."""
    rng, shuffle = np.random.default_rng(12), np.random.default_rng(13)
    units = list(np.arange(ENVS * STEPS).reshape(ENVS, STEPS))
    grad_sq, trace = moments_of_table(table, chances)
    truth = trace / grad_sq
    count = {"environments": 0, "environments now": 0, "shuffled": 0, "shuffled now": 0, "resolved": 0}
    for draw in range(DRAWS):
        rollouts = draw_rollouts(rng, chances)
        ways: dict[str, list[Groups]] = {
            "environments": [split(units, GROUPS)] * ROLLOUTS,
            "shuffled": [np.array_split(shuffle.permutation(ENVS * STEPS), GROUPS) for _ in range(ROLLOUTS)],
        }
        for name, groups in ways.items():
            estimate = computed(table, rollouts, groups)
            count[name] += estimate.low <= truth <= estimate.high
            count[f"{name} now"] += estimate.now_low <= truth <= estimate.now_high
            count["resolved"] += name == "environments" and estimate.resolved
            if draw < REAL:
                check_equal(*real(rollouts, groups), table, rollouts)
    return {name: number / DRAWS for name, number in count.items()}


def check_equal(
    real: NoiseScaleEstimate, groups: Sequence[Groups], table: NDArray[np.float64], rollouts: Sequence[Rollout]
) -> None:
    """Fails where the adapter's estimate is not that of the table with the same groups."""
    fast = computed(table, rollouts, groups)
    assert (real.grad_sq, real.trace) == pytest.approx((fast.grad_sq, fast.trace), rel=1e-4)
    assert (real.low, real.now_low) == pytest.approx((fast.low, fast.now_low), rel=1e-3)
    assert (real.updates, real.resolved) == (fast.updates, fast.resolved)
