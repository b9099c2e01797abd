"""Gamma that the changes of a noise scale predict for an adaptive batch."""

from __future__ import annotations

import math

import pytest

from rlgns.critical.gamma import PredictedGamma
from tests.reference.critical import slow_gamma


@pytest.mark.parametrize("batch", [3.0, 250.0, 1e5])
def test_gamma_is_what_an_adaptive_batch_comes_to_whatever_batch_was_used(batch: float) -> None:
    scales = [20.0, 3000.0, 150.0, 150.0, 800.0]
    gamma = PredictedGamma()
    for scale in scales:
        gamma.update(scale, batch, 2 * (1 + scale / batch))  # two full-batch steps
    rows = [{"ds": 2.0, "noise_scale": scale} for scale in scales]
    for rate in (10.0, 824.0, 1e4):  # it does not depend on the exchange rate
        assert gamma.value == pytest.approx(slow_gamma(rows, rate))
    assert gamma.value < 0.8


def test_the_papers_example_and_a_constant_noise_scale() -> None:
    """SVHN: N = 10 sqrt(s) makes gamma 24/25 (appendix D)."""
    growing, constant = PredictedGamma(), PredictedGamma()
    for s in range(1, 20_001):
        growing.update(10 * math.sqrt(s), 1.0, 1 + 10 * math.sqrt(s))
        constant.update(400.0, 1.0, 401)
    assert growing.value == pytest.approx(24 / 25, abs=1e-3)
    assert constant.value == pytest.approx(1)


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, 0.0, -5.0])
def test_steps_without_a_noise_scale_are_left_out(unknown: float | None) -> None:
    gamma = PredictedGamma()
    gamma.update(unknown, 100, 10)
    assert math.isnan(gamma.value)
    gamma.update(50.0, 100, 10)
    gamma.update(unknown, 100, 1000)
    assert gamma.value == pytest.approx(1)


def test_bad_sizes() -> None:
    with pytest.raises(ValueError, match="batch > 0"):
        PredictedGamma().update(1.0, 0, 1)
