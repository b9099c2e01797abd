"""Brute force at a known truth: environments correlated for ever, coupled rollouts, a gradient that moves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rlgns.noise import group_moments
from rlgns.noise.offline.brute_force import BruteForce, BruteForceResult
from tests.reference.noise import slow_brute_force

SETS, ROUNDS, ENVS, STEPS, DIMENSION = 6, 4, 4, 8, 20
GRAD_SQ, LASTING, COUPLED, FRESH = 1.0, 2.0, 0.5, 6.0
TRACE = STEPS * (LASTING + COUPLED + FRESH)  # of a rollout's mean gradient, times its observations


def draw(seed: int, coupled: float = COUPLED, moving: float = 0.0) -> np.ndarray:
    """[sets, rounds, envs, parameters] mean gradients.

    Each environment has an offset of its own that never averages out over its rollouts, each rollout one that its
    environments share, and with `moving` the true gradient swings about its mean from round to round.
    """
    rng = np.random.default_rng(seed)

    def noise(size: float, *shape: int) -> np.ndarray:
        return rng.standard_normal((*shape, DIMENSION)) * math.sqrt(size / DIMENSION)

    swing = np.zeros((ROUNDS, DIMENSION))
    swing[:, 0] = math.sqrt(moving) * np.array([1, -1, 1, -1])
    truth = np.full(DIMENSION, math.sqrt(GRAD_SQ / DIMENSION))
    lasting, shared = noise(LASTING, SETS, 1, ENVS), noise(coupled, SETS, ROUNDS, 1)
    return truth + swing[None, :, None] + lasting + shared + noise(FRESH, SETS, ROUNDS, ENVS)


def play(gradients: np.ndarray) -> BruteForceResult:
    sums = BruteForce(sets=SETS, num_envs=ENVS, parameters=DIMENSION, rollout_steps=STEPS)
    for round_index in range(ROUNDS):
        for set_index in range(SETS):
            sums.add(set_index, torch.from_numpy(gradients[set_index, round_index]))
    return sums.result()


def test_equals_the_slow_twin() -> None:
    gradients = draw(0)
    result = play(gradients)
    grad_sq, trace = slow_brute_force(gradients, STEPS)
    assert result.grad_sq == pytest.approx(grad_sq, rel=1e-5)
    assert result.trace == pytest.approx(trace, rel=1e-5)
    for left_out in range(SETS):
        kept = np.delete(gradients, left_out, axis=0)
        assert result.without_set[left_out] == pytest.approx(slow_brute_force(kept, STEPS), rel=1e-4)


@pytest.fixture(scope="module")
def runs() -> list[tuple[BruteForceResult, float]]:
    """300 calibrations, each with |G|^2 by the biased twin that takes all rollouts for independent."""
    drawn = [draw(seed) for seed in range(300)]
    return [(play(g), group_moments(g.reshape(-1, DIMENSION), observations_per_group=STEPS).grad_sq) for g in drawn]


def errors_off(values: np.ndarray, truth: float) -> float:
    return abs(values.mean() - truth) / (values.std(ddof=1) / math.sqrt(len(values)))


def test_unbiased_whatever_correlates_inside_a_set(runs: list[tuple[BruteForceResult, float]]) -> None:
    assert errors_off(np.array([result.grad_sq for result, _ in runs]), GRAD_SQ) < 4
    assert errors_off(np.array([result.trace for result, _ in runs]), TRACE) < 4
    assert errors_off(np.array([twin for _, twin in runs]), GRAD_SQ) > 4


def test_standard_errors_tell_the_spread_over_runs(runs: list[tuple[BruteForceResult, float]]) -> None:
    results = [result for result, _ in runs]
    spread = np.std([result.grad_sq for result in results], ddof=1)
    assert np.sqrt(np.mean([result.grad_sq_error**2 for result in results])) == pytest.approx(spread, rel=0.25)
    inside = [result.noise_scale_low <= TRACE / GRAD_SQ <= result.noise_scale_high for result in results]
    assert np.mean(inside) > 0.9


def test_says_what_couples_the_environments_of_a_rollout() -> None:
    coupled, free = ([play(draw(seed, coupled=size)) for seed in range(60)] for size in (COUPLED, 0.0))
    # Medians: a ratio whose denominator is an inner product of few sets has heavy tails.
    assert np.median([result.same_rollout for result in coupled]) == pytest.approx(1 + COUPLED / GRAD_SQ, rel=0.1)
    assert np.median([result.same_rollout for result in free]) == pytest.approx(1, rel=0.1)


def test_says_that_the_gradient_moves_with_the_time_played() -> None:
    moving, still = ([play(draw(seed, moving=size)) for seed in range(60)] for size in (1.0, 0.0))
    assert np.median([result.same_round for result in moving]) == pytest.approx(2, rel=0.1)
    assert np.median([result.same_round for result in still]) == pytest.approx(1, rel=0.1)


def test_counts_complete_rounds_alone() -> None:
    gradients = draw(0)
    sums = BruteForce(sets=SETS, num_envs=ENVS, parameters=DIMENSION, rollout_steps=STEPS)
    for set_index in range(SETS):
        sums.add(set_index, torch.from_numpy(gradients[set_index, 0]))
    before = sums.result()
    sums.add(0, torch.from_numpy(gradients[0, 1]))
    after = sums.result()
    assert after.grad_sq == before.grad_sq
    assert after.observations == before.observations == SETS * ENVS * STEPS
    assert after.environments == SETS * ENVS


def test_says_what_a_precision_would_take() -> None:
    result = play(draw(0))
    needed = [result.observations_for(precision) for precision in (0.5, 0.05, 0.005)]
    assert needed[0] < needed[1] < needed[2]
    # Far above the noise scale every error falls with the root of the observations.
    assert needed[2] / needed[1] == pytest.approx(100, rel=0.1)
    now = max(result.precision)
    assert result.observations_for(now) == pytest.approx(result.observations, rel=0.01)
