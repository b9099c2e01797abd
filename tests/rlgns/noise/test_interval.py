"""Fieller's set against a search over all ratios, and the covariance of means against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlgns.noise.interval import fieller, ratio_interval
from rlgns.noise.long_run_variance import mean_covariance
from tests.reference.noise import slow_fieller

POSITIVE = st.floats(0.01, 10)


@settings(max_examples=200, deadline=None)
@given(st.floats(-1, 10), st.floats(-3, 10), POSITIVE, POSITIVE, st.floats(-0.99, 0.99), st.integers(3, 60))
def test_equals_a_search_over_all_ratios(n: float, d: float, sd_n: float, sd_d: float, rho: float, dof: int) -> None:
    covariance = np.array([[sd_n**2, rho * sd_n * sd_d], [rho * sd_n * sd_d, sd_d**2]])
    interval = fieller(n, d, covariance, dof, 0.9)
    quantile = float(stats.t.ppf(0.95, dof))
    candidates = np.concatenate([[0.0], np.geomspace(1e-4, 1e4, 4001)])
    accepted = candidates[slow_fieller(n, max(d, 0.0), covariance, quantile, candidates)]
    inside = candidates[(candidates >= interval.low) & (candidates <= interval.high)]
    assert interval.resolved == (d > quantile * sd_d)
    assert 0 <= interval.low <= interval.high
    step = candidates[2] / candidates[1]
    if interval.resolved and len(accepted):
        assert accepted[-1] <= interval.high * step
        assert accepted[-1] * step >= min(interval.high, 1e4 / step)
    if len(accepted):
        assert accepted[0] >= interval.low / step
    if n > quantile * sd_n and len(accepted) and accepted[0] > 0:
        assert accepted[0] <= interval.low * step
    assert len(inside) >= len(accepted[accepted <= interval.high]) - 1


def test_a_negative_denominator_gives_the_bound_of_zero() -> None:
    covariance = np.diag([0.01, 0.04])
    at_zero = fieller(1.0, 0.0, covariance, 20, 0.95)
    for denominator in (-0.01, -0.3, -50.0):
        assert fieller(1.0, denominator, covariance, 20, 0.95) == at_zero
    assert at_zero.low > 0
    assert at_zero.high == math.inf
    smaller = fieller(1.0, 0.1, covariance, 20, 0.95)
    assert smaller.low < at_zero.low


def test_nothing_is_known_without_a_covariance() -> None:
    for interval in (
        fieller(1.0, 1.0, np.eye(2), 0, 0.95),
        fieller(math.nan, 1.0, np.eye(2), 5, 0.95),
        fieller(1.0, 1.0, np.full((2, 2), math.nan), 5, 0.95),
        ratio_interval(*np.ones((4, 3)), numerator=1.0, denominator=1.0, level=0.95),
    ):
        assert math.isnan(interval.low)
        assert interval.high == math.inf
        assert not interval.resolved


def test_one_sided_coverage_of_a_bound_where_nothing_is_resolved() -> None:
    # Truth 1 / 0.05 = 20; the denominator's error is 20 times its value, so that half of the estimates are negative.
    rng = np.random.default_rng(0)
    draws, dof = 20_000, 10
    numerator = 1 + 0.1 * rng.standard_normal(draws)
    denominator = 0.05 + rng.standard_normal(draws)
    scale = rng.chisquare(dof, draws) / dof
    intervals = [
        fieller(float(n), float(d), np.diag([0.01, 1.0]) * s, dof, 0.95)
        for n, d, s in zip(numerator, denominator, scale, strict=True)
    ]
    missed = np.mean([i.low > 20 for i in intervals])
    error = math.sqrt(0.025 * 0.975 / draws)
    assert missed < 0.025 + 4 * error
    assert np.mean([i.low <= 20 <= i.high for i in intervals]) > 0.95 - 4 * math.sqrt(0.05 * 0.95 / draws)
    assert min(i.low for i in intervals) >= 0


@pytest.mark.parametrize("blocks", [4, 5, 7, 8, 15, 16, 17, 31, 40, 63, 64])
@pytest.mark.parametrize("decay", [0.0, 4.0])
def test_white_noise_gives_the_variance_of_the_mean(blocks: int, decay: float) -> None:
    rng = np.random.default_rng(blocks)
    observations = rng.uniform(50, 100, size=blocks)
    weights = observations * np.exp(decay * (np.arange(blocks) / blocks - 1))
    draws = 4000
    means = rng.standard_normal((blocks, 1, draws)) / np.sqrt(observations)[:, None, None]
    covariance = mean_covariance(observations, weights, means)
    exact = np.sum((weights / weights.sum()) ** 2 / observations)
    assert 1 <= covariance.degrees_of_freedom <= 10
    excess = covariance.matrix[0, 0].mean() / exact
    assert 0.97 < excess < 1.35, "never below the truth by more than the draws' error; a little above by the correction"
    estimate = np.einsum("b,bd->d", weights, means[:, 0]) / weights.sum()
    student = estimate / np.sqrt(covariance.matrix[0, 0])
    covered = np.mean(np.abs(student) < stats.t.ppf(0.975, covariance.degrees_of_freedom))
    assert 0.94 < covered < 0.98


def test_a_smooth_drift_does_not_count_as_noise() -> None:
    rng = np.random.default_rng(0)
    blocks = 48
    observations = np.full(blocks, 10.0)
    noise = 0.01 * rng.standard_normal((blocks, 2, 500))
    still = mean_covariance(observations, observations, noise)
    tenfold = 10 ** np.linspace(0, 1, blocks)[:, None, None]
    moving = mean_covariance(observations, observations, noise + tenfold)
    assert moving.matrix[0, 0].mean() == pytest.approx(still.matrix[0, 0].mean(), rel=0.1)
    naive = (noise + tenfold)[:, 0].var(axis=0).mean() / blocks
    assert naive > 100 * still.matrix[0, 0].mean()


def test_autocorrelation_between_blocks_is_counted() -> None:
    rng = np.random.default_rng(0)
    blocks, rho = 50, 0.6
    noise = rng.standard_normal((blocks + 50, 1, 4000))
    for i in range(1, len(noise)):
        noise[i] = rho * noise[i - 1] + math.sqrt(1 - rho**2) * noise[i]
    noise = noise[50:]
    covariance = mean_covariance(np.ones(blocks), np.ones(blocks), noise)
    quantile = stats.t.ppf(0.975, covariance.degrees_of_freedom)
    student = noise[:, 0].mean(axis=0) / np.sqrt(covariance.matrix[0, 0])
    # Fifty blocks of one update are too few to cover 95 %; docs/notes/interval.md has the coverage of each length.
    assert 0.88 < np.mean(np.abs(student) < quantile) < 0.97
    naive = noise[:, 0].mean(axis=0) / np.sqrt(noise[:, 0].var(axis=0, ddof=1) / blocks)
    assert np.mean(np.abs(naive) < quantile) < 0.78


def test_streams_are_treated_apart() -> None:
    rng = np.random.default_rng(0)
    observations, means = np.ones(20), rng.normal(size=(20, 2, 3))
    together = mean_covariance(observations, observations, means)
    for i in range(3):
        alone = mean_covariance(observations, observations, means[:, :, i])
        np.testing.assert_allclose(together.matrix[..., i], alone.matrix, rtol=1e-12)
