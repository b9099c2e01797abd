"""The trade-off of eq. 2.11 and its wording."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlgns.critical import Advice, advice_of, step_ratio, steps_advice_of, twice_envs, twice_steps
from rlgns.critical.advice import UNKNOWN

sizes = st.floats(1e-3, 1e9)


@given(critical=sizes, batch=sizes, factor=st.floats(1.01, 100))
def test_ratios_follow_the_papers_equations(critical: float, batch: float, factor: float) -> None:
    def steps(b: float) -> float:
        return 1 + critical / b

    def observations(b: float) -> float:
        return 1 + b / critical

    assert step_ratio(critical, batch, factor) == pytest.approx(steps(factor * batch) / steps(batch), rel=1e-6)
    assert factor * step_ratio(critical, batch, factor) == pytest.approx(
        observations(factor * batch) / observations(batch), rel=1e-6
    )


@given(critical=sizes, more=st.floats(1.001, 1e3), batch=sizes)
def test_both_ratios_fall_as_the_critical_batch_grows(critical: float, more: float, batch: float) -> None:
    assert 0.5 <= step_ratio(critical * more, batch) <= step_ratio(critical, batch) <= 1
    steps, fewer = (twice_envs(c, c, c, batch) for c in (critical, critical * more))
    assert steps.observation_ratio is not None and fewer.observation_ratio is not None
    assert 1 <= fewer.observation_ratio <= steps.observation_ratio <= 2


def test_ends() -> None:
    assert [step_ratio(critical, 256) for critical in (0, math.inf, 256)] == [1, 0.5, 0.75]
    assert twice_envs(256, 256, 256, 256).observation_ratio == 1.5
    with pytest.raises(ValueError, match="batch > 0"):
        step_ratio(1, 0)


def test_a_row_has_what_its_numbers_say() -> None:
    row = {"critical_batch/low": 280, "critical_batch/predicted": 410, "critical_batch/high": 640}
    row |= {"batch_observations": 256, "noise/twice_steps_noise": 0.7}
    assert advice_of(row) == twice_envs(280, 410, 640, 256)
    assert steps_advice_of(row) == Advice(what="the rollout steps"), "no interval yet"
    row["noise/twice_steps_noise_low"] = 0.6
    assert steps_advice_of(row) == twice_steps(280, 410, 640, 256, noise=0.7)
    assert advice_of({}).sentence() == f"twice the environments: {UNKNOWN}"
    assert steps_advice_of({}).sentence() == f"twice the rollout steps: {UNKNOWN}"


def test_interval_is_ordered_and_holds_the_estimate() -> None:
    advice = twice_envs(280, 410, 640, 256)
    assert advice.step_ratio_low is not None
    assert advice.step_ratio is not None
    assert advice.step_ratio_high is not None
    assert advice.step_ratio_low < advice.step_ratio < advice.step_ratio_high
    assert advice.observation_ratio == pytest.approx((1 + 512 / 410) / (1 + 256 / 410))
    assert advice.sentence() == "twice the environments: 1.4x fewer steps for 1.4x the observations"
    assert advice.sentence(interval=True) == (
        "twice the environments: 1.4x (1.4x to 1.6x) fewer steps for 1.4x (1.3x to 1.5x) the observations"
    )


@pytest.mark.parametrize("high", [None, math.inf, math.nan])
@pytest.mark.parametrize("mid", [None, 5000.0, math.nan])
def test_a_lower_bound_is_worded_as_a_bound(mid: float | None, high: float | None) -> None:
    advice = twice_envs(900, mid, high, 256)
    assert advice.step_ratio is None
    assert advice.step_ratio_low is None
    assert advice.step_ratio_high == step_ratio(900, 256)
    assert advice.sentence(interval=True) == (
        "twice the environments: at least 1.6x fewer steps for at most 1.2x the observations"
    )


@pytest.mark.parametrize(
    "ends", [(None, None, None), (math.nan, 5.0, 9.0), (0.0, None, None), (-3.0, 4.0, None), (9.0, 5.0, 3.0)]
)
def test_where_nothing_is_known(ends: tuple[float | None, ...]) -> None:
    advice = twice_envs(*ends, 256)
    assert advice.sentence() == "twice the environments: not known yet"
    assert advice.observation_ratio is None
    assert advice.hours(3600) == ""
    assert advice == Advice()


def test_a_bound_that_says_nothing_is_not_worded() -> None:
    """A lower bound of 5 at a batch of 256 promises 1.01 times fewer steps or more, which is no news."""
    bound = twice_envs(5, None, None, 256)
    assert bound.sentence(interval=True) == "twice the environments: not known yet" and bound.hours(3600) == ""


def test_negative_lower_end_counts_as_zero() -> None:
    advice = twice_envs(-50, 100, 300, 256)
    assert advice.step_ratio_high == 1
    assert advice.observation_ratio_high == 2


def test_hours() -> None:
    assert twice_envs(256, 256, 256, 256).hours(7200) == (
        "what takes 2 h 00 min now would take 3 h 00 min at the same observations/s, "
        "1 h 30 min if 2x the environments play 2x the observations/s"
    )
    assert "at most 3 h 00 min" in twice_envs(256, None, None, 256).hours(7200)


@pytest.mark.parametrize("critical_batch", [0.0, 10.0, 300.0, math.inf])
def test_twice_the_steps_is_as_good_as_twice_the_environments_or_of_no_use(critical_batch: float) -> None:
    assert step_ratio(critical_batch, 256, noise=0.5) == pytest.approx(step_ratio(critical_batch, 256))
    assert step_ratio(critical_batch, 256, noise=1.0) == 1
    between = step_ratio(critical_batch, 256, noise=0.8)
    assert step_ratio(critical_batch, 256, noise=0.5) <= between <= 1


def test_advice_on_steps() -> None:
    longer = twice_steps(100, 256, 700, 256, noise=0.75)
    assert longer.step_ratio == pytest.approx((256 + 0.75 * 256) / 512)
    assert longer.observation_ratio == pytest.approx(1.75)
    assert longer.step_ratio_low is not None and longer.step_ratio_high is not None
    assert longer.step_ratio_low < longer.step_ratio < longer.step_ratio_high
    assert longer.sentence() == "twice the rollout steps: 1.1x fewer steps for 1.8x the observations"
    bound = twice_steps(1000, None, None, 256, noise=0.8).sentence()
    assert bound == "twice the rollout steps: at least 1.2x fewer steps for at most 1.7x the observations"
    # Outside of what the model allows by noise alone: taken as the nearest that it does.
    assert twice_steps(100, 256, 700, 256, noise=1.3) == twice_steps(100, 256, 700, 256, noise=1.0)
    envs = twice_envs(100, 256, 700, 256)
    assert twice_steps(100, 256, 700, 256, noise=0.2).step_ratio == envs.step_ratio
    for unknown in (None, math.nan):
        assert twice_steps(100, 256, 700, 256, noise=unknown).sentence().endswith(UNKNOWN)
    assert twice_steps(None, None, None, 256, noise=0.7).sentence().endswith(UNKNOWN)
