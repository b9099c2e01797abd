"""Brute force along the steps at a known truth, with a slow twin and a biased one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rlgns.noise.offline.path_truth import PathResult, PathTruth

STEPPERS, MEASURERS, ROUNDS, ENVS, T = (0, 1, 2, 3, 4), (5, 6, 7), 4, 4, 8
STEPS, DIMENSION = 3, 30
START_SQ, KICK_SQ, NOISE = 0.5, np.array([0.0, 2.0, 4.0]), 6.0
WEIGHTS = np.array([0.5, 1.0, 1.0])
TRUE_GRAD_SQ = START_SQ + KICK_SQ
TRACE = NOISE * T  # of a rollout's mean gradient, times its observations
GRAD_SQ = float(WEIGHTS @ TRUE_GRAD_SQ / WEIGHTS.sum())


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The true gradient at theta_k of each replay, and the measurers' environments' own there.

    [rounds, steppers, steps, parameters] and [rounds, steppers, steps, measurers, envs, parameters]. The steps' noise
    moves the gradient. A measurer's noise is the same at all theta_k of a round: its games are.
    """
    rng = np.random.default_rng(seed)
    start = np.full(DIMENSION, np.sqrt(START_SQ / DIMENSION))
    kicks = rng.standard_normal((ROUNDS, len(STEPPERS), STEPS, DIMENSION)) * np.sqrt(KICK_SQ / DIMENSION)[:, None]
    noise = rng.standard_normal((ROUNDS, 1, 1, len(MEASURERS), ENVS, DIMENSION)) * np.sqrt(NOISE / DIMENSION)
    true = start + kicks
    return true, true[:, :, :, None, None] + noise


def collected(gradients: np.ndarray) -> PathTruth:
    truth = PathTruth(steppers=STEPPERS, measurers=MEASURERS, rollout_steps=T, weights=WEIGHTS)
    for round_index, stepper in itertools.product(range(ROUNDS), range(len(STEPPERS))):
        own = gradients[round_index, stepper]
        means = own.mean(2)
        truth.add(
            round_index=round_index,
            stepper=STEPPERS[stepper],
            products=means @ means.transpose(0, 2, 1),
            sq_norms=(own**2).sum(3).mean(2),
        )
    return truth


def slow(gradients: np.ndarray, steppers: list[int], measurers: list[int]) -> list[tuple[float, float]]:
    """grad_sq and trace by step, in loops."""
    found = []
    for step in range(STEPS):
        products, norms = [], []
        for round_index, stepper in itertools.product(range(ROUNDS), steppers):
            own = gradients[round_index, stepper, step]
            for a, b in itertools.combinations(measurers, 2):
                products.append(own[a].mean(0) @ own[b].mean(0))
            norms += [g @ g for a in measurers for g in own[a]]
        grad_sq = float(np.mean(products))
        found.append((grad_sq, T * (float(np.mean(norms)) - grad_sq)))
    return found


def result(gradients: np.ndarray, first: int = 0) -> PathResult:
    found = collected(gradients).result(first)
    assert found is not None
    return found


def test_equals_the_slow_twin() -> None:
    _, gradients = draw(0)
    found, twin = result(gradients), slow(gradients, [0, 1, 2, 3, 4], [0, 1, 2])
    for step, (grad_sq, trace) in zip(found.profile, twin, strict=True):
        assert (step.grad_sq, step.trace) == pytest.approx((grad_sq, trace))
    assert found.grad_sq == pytest.approx(WEIGHTS @ np.array(twin)[:, 0] / WEIGHTS.sum())
    assert found.trace == pytest.approx(WEIGHTS @ np.array(twin)[:, 1] / WEIGHTS.sum())
    for left_out in range(8):
        steppers = [index for index in range(5) if index != left_out]
        twin = slow(gradients, steppers, [index for index in range(3) if index + 5 != left_out])
        expected = WEIGHTS @ np.array(twin) / WEIGHTS.sum()
        assert found.without_set[left_out] == pytest.approx(expected)


def test_unbiased_at_every_step_and_its_interval_holds() -> None:
    """300 draws. The twin that takes the steppers' start for the path fails; so does a measurer's squared norm."""
    drawn = [draw(seed) for seed in range(300)]
    found = [result(gradients) for _, gradients in drawn]
    profiles = np.array([[step.grad_sq for step in one.profile] for one in found])
    error = profiles.std(0, ddof=1) / np.sqrt(len(found))
    assert np.all(np.abs(profiles.mean(0) - TRUE_GRAD_SQ) < 4 * error)
    assert np.mean([one.trace for one in found]) == pytest.approx(TRACE, rel=0.01)
    inside = [one.noise_scale_low <= TRACE / GRAD_SQ <= one.noise_scale_high for one in found]
    assert 0.93 <= np.mean(inside) <= 0.995  # with 3 measurers the jackknife is on the safe side
    other = [one.noise_scale_low <= TRACE / START_SQ <= one.noise_scale_high for one in found]
    assert np.mean(other) < 0.05
    norms = np.array([(g[:, :, :, 0].mean(3) ** 2).sum(3).mean((0, 1)) for _, g in drawn])
    assert np.all(norms.mean(0) > TRUE_GRAD_SQ + 4 * error), "a single set's squared norm holds its noise"


def test_rounds_before_the_first_that_counts_are_left_out() -> None:
    _, gradients = draw(3)
    truth = collected(gradients)
    assert truth.replays() == 20 and truth.replays(3) == 5
    later = truth.result(3)
    assert later is not None
    changed = gradients.copy()
    changed[:3] *= 7
    assert result(changed, first=3).grad_sq == pytest.approx(later.grad_sq)
    assert truth.result(4) is None
