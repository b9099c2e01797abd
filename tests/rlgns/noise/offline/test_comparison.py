"""Bias and spread of an estimator beside the truth, on simulated measurements whose bias and spread are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlgns.noise.offline.brute_force import BruteForceResult
from rlgns.noise.offline.comparison import Series, spread_ratio

SETS, PER_SET, OBSERVATIONS = 8, 6, 100
GRAD_SQ, TRACE = 2.0, 300.0


def true(rng: np.random.Generator, error: float = 0.01) -> BruteForceResult:
    """A truth that is known to 1 %, from sets that scatter accordingly."""
    scatter = 1 + error * math.sqrt(SETS) * rng.standard_normal((SETS, 2))
    whole = np.array([GRAD_SQ, TRACE]) * scatter.mean(0)
    without = np.array([GRAD_SQ, TRACE]) * (scatter.sum(0) - scatter) / (SETS - 1)
    return BruteForceResult(
        grad_sq=float(whole[0]),
        grad_sq_error=error * GRAD_SQ,
        trace=float(whole[1]),
        trace_error=error * TRACE,
        noise_scale=float(whole[1] / whole[0]),
        noise_scale_low=math.nan,
        noise_scale_high=math.nan,
        same_round=1.0,
        same_round_error=0.0,
        same_rollout=1.0,
        same_rollout_error=0.0,
        without_set=without,
        observations=SETS * PER_SET * OBSERVATIONS,
        environments=SETS,
    )


def measured(rng: np.random.Generator, *, bias: float = 1.0, noise: float = 0.3) -> Series:
    """Measurements with relative errors of `noise` in both moments; |G|^2 is off by the factor `bias`."""
    series = Series(SETS)
    for set_index in range(SETS):
        for _ in range(PER_SET):
            errors = 1 + noise * rng.standard_normal(2)
            series.add(
                set_index, grad_sq=GRAD_SQ * bias * errors[0], trace=TRACE * errors[1], observations=OBSERVATIONS
            )
    return series


@pytest.mark.parametrize("bias", [1.0, 2.0])
def test_intervals_hold_the_bias(bias: float) -> None:
    held = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        quality = measured(rng, bias=bias).quality(true(rng), OBSERVATIONS)
        held.append(
            [
                quality.grad_sq.low <= bias <= quality.grad_sq.high,
                quality.trace.low <= 1 <= quality.trace.high,
                quality.noise_scale.low <= 1 / bias <= quality.noise_scale.high,
            ]
        )
    assert np.all(np.mean(held, axis=0) > 0.9)
    assert np.all(np.mean(held, axis=0) < 0.99)  # ... and are no wider than they need to be


@pytest.mark.parametrize("expected", [None, np.array([GRAD_SQ, TRACE])])
def test_the_spread_is_that_of_the_log_of_the_ratio_of_sums(expected: np.ndarray | None) -> None:
    logs, predicted = [], []
    for seed in range(400):
        series = measured(np.random.default_rng(seed))
        grad_sq, trace = series.means()
        logs.append(math.log(trace / grad_sq))
        predicted.append(series.log_sd(SETS * PER_SET * OBSERVATIONS, expected))
    assert np.std(logs, ddof=1) == pytest.approx(0.3 * math.sqrt(2 / (SETS * PER_SET)), rel=0.1)
    assert np.mean(predicted) == pytest.approx(np.std(logs, ddof=1), rel=0.1)


def test_spread_ratio_holds_the_true_one() -> None:
    held = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        series, truth = [measured(rng, noise=noise) for noise in (0.1, 0.4)], true(rng)
        ratio = spread_ratio(*series, truth, theirs_unbiased=seed % 2 == 0)
        held.append(ratio.low <= 0.25 <= ratio.high)
    assert 0.88 < np.mean(held) < 0.99


def test_says_nothing_of_a_noise_scale_that_is_not_positive() -> None:
    rng = np.random.default_rng(0)
    quality = measured(rng, bias=-1.0).quality(true(rng), OBSERVATIONS)
    assert quality.grad_sq.value == pytest.approx(-1, rel=0.2)
    assert math.isnan(quality.noise_scale.value)
    assert math.isnan(quality.log_sd)
    assert math.isnan(quality.grad_sq_sd)
