"""Moments at a known truth, 20,000 batches of Gaussian gradients: unbiased, and the ways to get them wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlgns.noise import Moments, moments_from_gram, moments_from_sums

DRAWS = 20_000
GRAD_SQ = 0.5
SCALES = np.array([2.0, 1.0, 1.0, 0.5, 0.5, 0.5])
TRACE = float(np.sum(SCALES**2))
GROUPS, B = 4, 3


def standard_errors_off(estimates: np.ndarray, truth: float) -> float:
    return abs(estimates.mean() - truth) / (estimates.std(ddof=1) / math.sqrt(len(estimates)))


def assert_mean(estimates: np.ndarray, truth: float) -> None:
    # A false alarm has probability 6e-5 for a fresh seed; the seeds are fixed.
    assert standard_errors_off(estimates, truth) < 4


def batches(seed: int, draws: int = DRAWS) -> np.ndarray:
    """[draws, groups, parameters] group means."""
    rng = np.random.default_rng(seed)
    mean = np.zeros(len(SCALES))
    mean[1] = math.sqrt(GRAD_SQ)
    return mean + rng.normal(size=(draws, GROUPS, len(SCALES))) * SCALES / math.sqrt(B)


def all_moments(drawn: np.ndarray) -> list[Moments]:
    return [moments_from_gram(products, B) for products in np.einsum("dip,djp->dij", drawn, drawn)]


@pytest.fixture(scope="module")
def estimates() -> tuple[np.ndarray, np.ndarray]:
    drawn = all_moments(batches(seed=0))
    return np.array([m.grad_sq for m in drawn]), np.array([m.trace for m in drawn])


def test_both_moments_are_unbiased(estimates: tuple[np.ndarray, np.ndarray]) -> None:
    grad_sq, trace = estimates
    assert_mean(grad_sq, GRAD_SQ)
    assert_mean(trace, TRACE)
    assert standard_errors_off(1.05 * trace, TRACE) > 4, "the test has the power to see 5 %"
    assert grad_sq.min() < 0, "the estimate is not clamped"


def test_clamping_is_biased(estimates: tuple[np.ndarray, np.ndarray]) -> None:
    assert standard_errors_off(np.maximum(estimates[0], 0), GRAD_SQ) > 4


def test_the_squared_norm_of_the_mean_is_biased() -> None:
    assert standard_errors_off(np.sum(batches(seed=1).mean(axis=1) ** 2, axis=1), GRAD_SQ) > 4


def test_one_group_against_the_whole_batch_is_far_noisier_and_needs_the_correction() -> None:
    drawn = batches(seed=2)
    big, one = np.sum(drawn.mean(axis=1) ** 2, axis=1), np.sum(drawn[:, 0] ** 2, axis=1)
    one_group = B * GROUPS * (one - big) / (GROUPS - 1)
    assert_mean(one_group, TRACE)
    uncorrected = one - big
    assert standard_errors_off(B * uncorrected, TRACE) > 4, "one group's excess norm misses M / (M - 1)"
    all_groups = np.array([m.trace for m in all_moments(drawn[:4000])])
    assert one_group.var() > 2 * all_groups.var()


def test_the_mean_of_ratios_is_biased(estimates: tuple[np.ndarray, np.ndarray]) -> None:
    grad_sq, trace = estimates
    truth = TRACE / GRAD_SQ
    assert abs(np.median(trace / grad_sq) / truth - 1) > 0.3
    assert trace.sum() / grad_sq.sum() == pytest.approx(truth, rel=0.1)


def test_gradients_of_successive_steps_are_biased() -> None:
    # A quadratic at its best step size: E<g1, g2> = |G|^2 - e (G'HG + tr(H Sigma) / B) is exactly zero there.
    rng = np.random.default_rng(5)
    hessian = np.linspace(0.2, 2.0, 40)
    theta = rng.normal(size=40) / np.sqrt(40)
    true = hessian * theta
    sigma_sq = 0.5
    step = np.sum(true**2) / (np.sum(hessian * true**2) + sigma_sq * hessian.sum())
    first = true + rng.normal(size=(DRAWS, 40)) * math.sqrt(sigma_sq)
    second = hessian * (theta - step * first) + rng.normal(size=(DRAWS, 40)) * math.sqrt(sigma_sq)
    same_theta = true + rng.normal(size=(DRAWS, 40)) * math.sqrt(sigma_sq)
    assert_mean(np.sum(first * same_theta, axis=1), float(np.sum(true**2)))
    across = np.sum(first * second, axis=1)
    assert standard_errors_off(across, float(np.sum(true**2))) > 4
    assert_mean(across, 0.0)


def test_groups_of_different_sizes_are_unbiased() -> None:
    rng = np.random.default_rng(3)
    sizes = np.array([1, 2, 3, 10])
    truth = np.array([1.0, -0.5, 0.0])
    means = truth + rng.normal(size=(20_000, 4, 3)) * 2 / np.sqrt(sizes)[:, None]
    products = np.einsum("dip,djp->dij", means, means) * np.outer(sizes, sizes)
    cross = products.sum(axis=(1, 2)) - np.einsum("dii->d", products)
    norms = np.sum(means**2, axis=2)
    draws = [moments_from_sums(list(sizes), list(norms[i]), float(cross[i])) for i in range(len(means))]
    assert_mean(np.array([m.grad_sq for m in draws]), 1.25)
    assert_mean(np.array([m.trace for m in draws]), 12.0)
