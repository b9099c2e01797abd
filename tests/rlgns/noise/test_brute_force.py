"""Brute force on environments whose gradients stay correlated for ever: known truth, and the biased twin is caught."""

import numpy as np
import pytest
import torch

from rlgns.noise import group_moments
from rlgns.noise.brute_force import BruteForce, BruteForceResult

ENVIRONMENTS, ROLLOUTS, STEPS, DIMENSION = 12, 5, 8, 20
GRAD_SQ, LASTING, FRESH = 1.0, 3.0, 6.0
TRACE = STEPS * (LASTING + FRESH)  # of a rollout's mean gradient, times its observations


def play(seed: int) -> tuple[BruteForceResult, float]:
    """One calibration: each environment has an offset of its own that never averages out over its rollouts.

    Also returns |G|^2 by the biased twin, which takes all rollouts for independent.
    """
    rng = np.random.default_rng(seed)
    truth = np.full(DIMENSION, np.sqrt(GRAD_SQ / DIMENSION))
    lasting = rng.standard_normal((ENVIRONMENTS, DIMENSION)) * np.sqrt(LASTING / DIMENSION)
    sums = BruteForce(environments=ENVIRONMENTS, parameters=DIMENSION, rollout_steps=STEPS)
    rows = []
    for _ in range(ROLLOUTS):
        order = rng.permutation(ENVIRONMENTS)
        fresh = rng.standard_normal((ENVIRONMENTS, DIMENSION)) * np.sqrt(FRESH / DIMENSION)
        gradients = truth + lasting[order] + fresh
        sums.add(order, torch.from_numpy(gradients))
        rows.append(gradients)
    return sums.result(), group_moments(np.concatenate(rows), observations_per_group=STEPS).grad_sq


def test_unbiased_where_one_environment_is_correlated_with_itself_for_ever() -> None:
    runs = [play(seed) for seed in range(600)]
    grad_sq = np.array([result.grad_sq for result, _ in runs])
    trace = np.array([result.trace for result, _ in runs])
    naive = np.array([twin for _, twin in runs])
    error = grad_sq.std(ddof=1) / np.sqrt(len(runs))
    assert abs(grad_sq.mean() - GRAD_SQ) < 4 * error
    assert abs(trace.mean() - TRACE) < 4 * trace.std(ddof=1) / np.sqrt(len(runs))
    assert abs(naive.mean() - GRAD_SQ) > 4 * naive.std(ddof=1) / np.sqrt(len(runs))


def test_standard_errors_tell_the_spread_over_runs() -> None:
    results = [play(seed)[0] for seed in range(300)]
    spread = np.std([result.grad_sq for result in results], ddof=1)
    told = np.sqrt(np.mean([result.grad_sq_error**2 for result in results]))
    assert told == pytest.approx(spread, rel=0.25)
    inside = [result.noise_scale_low <= TRACE / GRAD_SQ <= result.noise_scale_high for result in results]
    assert np.mean(inside) > 0.9


def test_counts_what_it_was_given() -> None:
    result, _ = play(0)
    assert result.observations == ENVIRONMENTS * ROLLOUTS * STEPS
    assert result.environments == ENVIRONMENTS
    assert result.noise_scale == pytest.approx(result.trace / result.grad_sq)
