"""Measurements by optimizer step against slow twins that keep every batch."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from rlgns.noise import GradientSize, Moments, NoiseScaleTracker, moments_from_gram
from rlgns.noise.config import NoiseConfig
from rlgns.noise.live_statistics import LiveStatistics

CONFIG = NoiseConfig(horizon_observations=3000, shuffled_every=5)
STEPS = 4
SHUFFLED = {4, 9}
"""Iterations whose first batch is split by shuffled observations."""

Batch = tuple[np.ndarray, int, bool, int]
"""Inner products of the groups, observations per group, whether shuffled, step."""


def batches(iterations: int, *, b: int = 16, steps: int = STEPS, start: int = 0, seed: int = 0) -> list[list[Batch]]:
    rng = np.random.default_rng([seed, start])
    found = []
    for iteration in range(start, start + iterations):
        gradients = rng.normal(size=(steps, 4, 30)) + 0.2 * (1 + np.arange(steps))[:, None, None]
        gradients *= 1 + 0.1 * iteration
        products = gradients @ gradients.transpose(0, 2, 1)
        found.append([(products[step], b, iteration in SHUFFLED and step == 0, step) for step in range(steps)])
    return found


def take(statistics: LiveStatistics, iterations: list[list[Batch]]) -> list[dict[str, Any]]:
    rows = []
    for iteration in iterations:
        for products, b, shuffled, step in iteration:
            statistics.update(products, b, shuffled=shuffled, step=step)
        rows.append(statistics.row())
    return rows


def relative(iterations: list[list[Batch]]) -> tuple[list[tuple[Moments, int]], float]:
    """Returns the moments of all batches split by environment in units of the size before, and the size at the end."""
    size, found = GradientSize(), []
    for products, b, shuffled, step in (batch for iteration in iterations for batch in iteration):
        moments = size.divide(moments_from_gram(products, b))
        if moments is not None and not shuffled:
            found.append((moments, step))
    assert size.value is not None
    return found, size.value


def slow_by_step(iterations: list[list[Batch]], horizon: float) -> list[dict[str, Any]]:
    """Returns `noise/by_step` from all batches: every weight by its age."""
    found, size = relative(iterations)
    observations = np.array([moments.observations for moments, _ in found])
    age = observations[::-1].cumsum()[::-1] - observations
    weights = observations * np.exp(-age / horizon)
    entries = []
    for step in sorted({step for _, step in found}):
        mine = [(weight, moments) for weight, (moments, its) in zip(weights, found, strict=True) if its == step]
        total = sum(weight for weight, _ in mine)
        grad_sq = size * sum(weight * moments.grad_sq for weight, moments in mine) / total
        trace = size * sum(weight * moments.trace for weight, moments in mine) / total
        entries.append({"step": step, "grad_sq": grad_sq, "trace": trace})
    return entries


def values(entries: list[dict[str, Any]]) -> list[list[float]]:
    return [[entry["step"], entry["grad_sq"], entry["trace"]] for entry in entries]


def test_by_step_equals_the_slow_twin() -> None:
    iterations = batches(12)
    rows = take(LiveStatistics(CONFIG, minibatches=STEPS), iterations)
    for upto in (1, 6, 12):
        expected = slow_by_step(iterations[:upto], 3000)
        np.testing.assert_allclose(values(rows[upto - 1]["noise/by_step"]), values(expected), rtol=1e-12)
    assert [entry["step"] for entry in rows[0]["noise/by_step"]] == [1, 2, 3], "the first batch has no size before it"
    assert [entry["step"] for entry in rows[1]["noise/by_step"]] == [0, 1, 2, 3]


def test_at_rollout_is_a_tracker_of_first_batches_split_by_environment() -> None:
    iterations = batches(12)
    rows = take(LiveStatistics(CONFIG, minibatches=STEPS), iterations)
    twin = NoiseScaleTracker(3000 / STEPS, follows_run=True)
    for moments, step in relative(iterations)[0]:
        if step == 0:
            twin.update(moments)
    row, expected = rows[-1], twin.estimate()
    assert expected.updates == 12 - len(SHUFFLED) - 1
    assert row["noise/at_rollout/scale"] == expected.noise_scale
    ends = (row["noise/at_rollout/scale_low"], row["noise/at_rollout/scale_high"], row["noise/at_rollout/resolved"])
    assert ends == (expected.low, expected.high, expected.resolved)
    now = [row[f"noise/at_rollout/{name}"] for name in ("now", "now_low", "now_high", "horizon_observations")]
    assert now == [expected.noise_scale, expected.now_low, expected.now_high, expected.horizon_observations]
    for number, row in enumerate(rows):
        moments = moments_from_gram(iterations[number][0][0], 16)
        raw = (row["noise/at_rollout/grad_sq"], row["noise/at_rollout/trace"])
        assert raw == ((None, None) if number in SHUFFLED else (moments.grad_sq, moments.trace))


def test_with_one_step_an_epoch_both_noise_scales_are_the_same() -> None:
    for row in take(LiveStatistics(CONFIG, minibatches=1), batches(12, steps=1)):
        for name in ("scale", "scale_low", "scale_high", "resolved", "grad_sq", "trace"):
            np.testing.assert_equal(row[f"noise/at_rollout/{name}"], row[f"noise/{name}"])


def test_batches_may_change_their_size_between_iterations() -> None:
    iterations = [*batches(6), *batches(6, b=64, start=6), *batches(6, b=8, start=12)]
    row = take(LiveStatistics(CONFIG, minibatches=STEPS), iterations)[-1]
    np.testing.assert_allclose(values(row["noise/by_step"]), values(slow_by_step(iterations, 3000)), rtol=1e-12)


def test_a_gradient_that_is_not_finite_is_left_out() -> None:
    statistics = LiveStatistics(CONFIG, minibatches=STEPS)
    before = take(statistics, batches(6))[-1]
    statistics.update(np.full((4, 4), math.nan), 16, shuffled=False, step=0)
    row = statistics.row()
    assert row["noise/by_step"] == before["noise/by_step"]
    assert row["noise/at_rollout/scale"] == before["noise/at_rollout/scale"]


@pytest.mark.parametrize("cut", [1, 5, 11])
def test_resumed_in_the_middle_equals_uninterrupted(cut: int) -> None:
    iterations = batches(12)
    whole, first, second = (LiveStatistics(CONFIG, minibatches=STEPS) for _ in range(3))
    expected = take(whole, iterations)
    take(first, iterations[:cut])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert repr(take(second, iterations[cut:])) == repr(expected[cut:])  # repr: NaN equals itself
    assert second.state_dict() == whole.state_dict()
