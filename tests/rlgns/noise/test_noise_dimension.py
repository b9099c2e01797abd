"""tr(Sigma^2) against its definition, unbiased for noise that is far from normal, and what it predicts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from benchmarks import coverage
from rlgns.noise import covariance_traces, gram, noise_dimension, updates_to_resolve

SCALES = np.array([3.0, 1.0, 1.0, 0.5])


def test_equals_its_definition() -> None:
    x = np.random.default_rng(0).normal(size=(5, 3)) + 1
    values = [float((x[i] - x[j]) @ (x[k] - x[m])) ** 2 / 4 for i, j, k, m in itertools.permutations(range(5), 4)]
    assert covariance_traces(gram(x), 6)[1] == pytest.approx(36 * np.mean(values), rel=1e-9)


def test_is_unbiased_for_skewed_heavy_noise() -> None:
    rng = np.random.default_rng(1)
    x = 0.7 + (rng.exponential(size=(20_000, 4, 4)) - 1) * SCALES / math.sqrt(3)
    estimates = np.array([covariance_traces(products, 3)[1] for products in np.einsum("dip,djp->dij", x, x)])
    error = estimates.std() / math.sqrt(len(estimates))
    assert abs(estimates.mean() - np.sum(SCALES**4)) < 4 * error
    trace = float(np.sum(SCALES**2))
    assert noise_dimension(trace, estimates.mean()) == pytest.approx(trace**2 / np.sum(SCALES**4), rel=0.1)


def test_predicts_when_grad_sq_is_resolved() -> None:
    # At that many updates the mean is two standard errors on average: resolved in about half of the runs.
    cell = coverage.Cell(ratio=0.1, dimension=20, groups=8, autocorrelation=0.0, kind="constant")
    updates = round(updates_to_resolve(10 * coverage.BATCH, coverage.BATCH, 20))
    assert updates == pytest.approx(1.96**2 * (40 + 200) / 20, abs=1)
    noise = coverage.draw_noise(np.random.default_rng(2), coverage.BURN_IN + updates, 2000, 20, 8, heavy=False)
    moments, *_ = coverage.simulate(coverage.correlate(noise, 20, 0.0), cell)
    means = moments[0].mean(axis=0)
    assert means.std() == pytest.approx(1 / 1.96, rel=0.1)


def test_undefined_and_bad_input() -> None:
    assert np.all(np.isnan(covariance_traces(np.full((4, 4), math.nan), 2)))
    assert math.isnan(noise_dimension(1.0, -0.1))
    assert math.isnan(updates_to_resolve(math.nan, 256, 20))
    assert updates_to_resolve(0.0, 256, 20) == 1
    with pytest.raises(ValueError, match="at least 4 groups, got 3"):
        covariance_traces(np.eye(3), 2)
    with pytest.raises(ValueError, match="square"):
        covariance_traces(np.ones((4, 5)), 2)


def test_both_traces_are_unbiased_and_their_ratio_minds_no_change_of_size() -> None:
    """Heavy-tailed noise of 5 groups, half of the updates 4 times as large; 20,000 draws of each."""
    rng = np.random.default_rng(5)
    deviation = np.array([3.0, 1.0, 1.0, 0.5])
    draws, b = 20_000, 2
    noise = deviation * rng.standard_t(10, size=(draws, 5, 4)) * np.sqrt(8 / 10)
    products = np.einsum("djp,dkp->djk", 0.7 + noise, 0.7 + noise)
    found = np.array([covariance_traces(p, b) for p in products])
    variances = b * deviation**2
    truth = np.array([variances.sum() ** 2, (variances**2).sum()])
    error = found.std(axis=0, ddof=1) / np.sqrt(draws)
    assert np.all(np.abs(found.mean(axis=0) - truth) < 4 * error)
    assert np.all(found[:, 0] >= found[:, 1])
    size = np.where(np.arange(draws) % 2, 1.0, 4.0)
    mean_sq, mean_of_sq = (found * size[:, None] ** 2).mean(axis=0)
    dimension = truth[0] / truth[1]
    assert mean_sq / mean_of_sq == pytest.approx(dimension, rel=0.03)
    trace = size * b * np.array([np.trace(p) - p.sum() / 5 for p in products]) / 4
    assert noise_dimension(trace.mean(), mean_of_sq) < 0.8 * dimension  # the squared mean: too small
