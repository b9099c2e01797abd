"""The run average of appendix D."""

from __future__ import annotations

import math

import pytest

from rlgns.critical import RunAverage
from tests.reference.critical import slow_gamma


def test_a_constant_noise_scale_is_its_own_average() -> None:
    average = RunAverage()
    for batch in (10, 100, 1000):
        average.update(410.0, batch, 16)
    assert average.value == pytest.approx(410)


def test_weights_against_full_batch_time() -> None:
    """dS = (1 + N/B) ds: of two stretches of equal step counts, the noisier one made less progress and weighs less."""
    average = RunAverage()
    average.update(100.0, 100.0, 10)  # 5 full-batch steps
    average.update(300.0, 100.0, 10)  # 2.5 full-batch steps
    assert average.min_steps == pytest.approx(7.5)
    assert average.min_observations == pytest.approx(5 * 100 + 2.5 * 300)
    assert average.value == pytest.approx((5 * 100 + 2.5 * 300) / 7.5)


@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, 0.0, -5.0])
def test_steps_without_a_noise_scale_are_left_out(unknown: float | None) -> None:
    average = RunAverage()
    average.update(unknown, 100, 10)
    assert math.isnan(average.value)
    average.update(50.0, 100, 10)
    average.update(unknown, 100, 1000)
    assert average.value == pytest.approx(50)
    assert average.share == pytest.approx(10 / 1020)


def test_averages_of_the_ends_enclose_the_average() -> None:
    """It grows with every noise scale, although one that is larger weighs less."""
    low, mid, high = RunAverage(), RunAverage(), RunAverage()
    for scale in (10.0, 5000.0, 300.0, 70.0):
        for average, factor in ((low, 0.8), (mid, 1.0), (high, 1.0 if scale < 5000 else 3.0)):
            average.update(factor * scale, 256, 32)
    assert low.value < mid.value < high.value


def test_state_goes_on() -> None:
    whole, first, second = RunAverage(), RunAverage(), RunAverage()
    for average in (whole, first):
        average.update(100.0, 64, 4)
    second.load_state_dict(first.state_dict())
    for average in (whole, second):
        average.update(900.0, 64, 4)
    assert second.value == whole.value


def test_bad_sizes() -> None:
    with pytest.raises(ValueError, match="batch > 0"):
        RunAverage().update(1.0, 0, 1)


@pytest.mark.parametrize("batch", [3.0, 250.0, 1e5])
def test_gamma_is_what_an_adaptive_batch_comes_to_whatever_batch_was_used(batch: float) -> None:
    scales = [20.0, 3000.0, 150.0, 150.0, 800.0]
    average = RunAverage()
    for scale in scales:
        average.update(scale, batch, 2 * (1 + scale / batch))  # two full-batch steps
    rows = [{"ds": 2.0, "noise_scale": scale} for scale in scales]
    for rate in (10.0, average.value, 1e4):  # it does not depend on the exchange rate
        assert average.gamma == pytest.approx(slow_gamma(rows, rate))
    assert average.gamma < 0.8


def test_gamma_of_the_papers_example_and_of_a_constant_noise_scale() -> None:
    """SVHN: N = 10 sqrt(s) makes gamma 24/25 (appendix D)."""
    growing, constant = RunAverage(), RunAverage()
    for s in range(1, 20_001):
        growing.update(10 * math.sqrt(s), 1.0, 1 + 10 * math.sqrt(s))
        constant.update(400.0, 1.0, 401)
    assert growing.gamma == pytest.approx(24 / 25, abs=1e-3)
    assert constant.gamma == pytest.approx(1)
    assert math.isnan(RunAverage().gamma)


def test_sums_whose_roots_are_not_known_have_no_gamma() -> None:
    average = RunAverage()
    average.update(100.0, 10, 5)
    average.load_state_dict(average.state_dict() | {"root_sum": math.nan})
    average.update(300.0, 10, 5)
    assert math.isnan(average.gamma) and average.value > 100
