"""The verdict: every outcome in words, and the rule behind keep, double and halve."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlgns.critical.run_average import RunAverage
from rlgns.critical.verdict import MARGIN, Decision, decide, verdict_of

KEEP, DOUBLE, HALVE, UNKNOWN = Decision.KEEP, Decision.DOUBLE, Decision.HALVE, Decision.UNKNOWN
sizes = st.floats(1, 1e6)


def row(value: float | None, low: float | None, high: float | None, **more: Any) -> dict[str, Any]:
    return {
        "observations": 100_000,
        "batch_observations": 256,
        "num_envs": 32,
        "batch_mode": "fixed",
        "learning_rate": 5e-4,
        "critical_batch/predicted": value,
        "critical_batch/low": low,
        "critical_batch/high": high,
        "critical_batch/calibration": "calibrated on A2C",
        "noise/run_average": 1500.0,
        "noise/run_average_low": 900.0,
        "noise/run_average_high": None if high is None else 4000.0,
        "noise/run_average_share": 0.99,
        "noise/run_average_learning_rate": 5e-4,
        "noise/run_average_missing": 0.0 if high is not None else 1.5,
    } | more


def cost(critical: float, batch: float) -> float:
    """S / S_min + E / E_min: a step is worth E_min / S_min observations."""
    return (1 + critical / batch) + (1 + batch / critical)


@given(critical=sizes, batch=sizes)
def test_a_known_critical_batch_asks_for_what_costs_least_among_the_three(critical: float, batch: float) -> None:
    decision = decide(batch, critical, critical)
    costs = {KEEP: cost(critical, batch), DOUBLE: cost(critical, 2 * batch), HALVE: cost(critical, batch / 2)}
    other = min(costs, key=costs.__getitem__)
    # Within rounding of the margin both are as good.
    assert decision == other or math.isclose(costs[decision], costs[other], rel_tol=1e-9)


@pytest.mark.parametrize(
    ("low", "high", "decision"),
    [
        (80, 700, KEEP),
        (1.01 * MARGIN * 256, 5000, DOUBLE),
        (0.99 * MARGIN * 256, 5000, KEEP),
        (20, 0.99 * 256 / MARGIN, HALVE),
        (20, 1.01 * 256 / MARGIN, KEEP),
        (0, 100, HALVE),
        (400, math.inf, DOUBLE),
        (300, math.inf, UNKNOWN),
        (math.nan, math.inf, UNKNOWN),
        (math.nan, math.nan, UNKNOWN),
    ],
)
def test_the_interval_decides(low: float, high: float, decision: Decision) -> None:
    assert decide(256, low, high) is decision


def test_the_sentence_has_the_number_its_environments_and_its_conditions() -> None:
    assert verdict_of(row(230, 80, 700), preset="quick").sentence() == (
        "Critical batch about 230 (80 to 700) observations, the batch of 29 (10 to 88) environments; you use 32: "
        "keep them. (Learning rate 5e-4, preset quick, calibrated on A2C.)"
    )
    assert verdict_of(row(230, 80, 700)).noise_scale == "1,500 (900 to 4,000)"


@pytest.mark.parametrize(
    "ends", [{"critical_batch/low": None}, {"critical_batch/low": 1e300}, {"batch_observations": 1e-300}]
)
def test_rows_without_sense_have_a_sentence(ends: dict[str, Any]) -> None:
    assert verdict_of(row(230, 80, 700, **ends)).sentence()


def test_every_outcome_in_words() -> None:
    double, halve = verdict_of(row(1200, 400, 3600)), verdict_of(row(50, 20, 170))
    assert double.headline().endswith("the batch of 150 (50 to 450) environments; you use 32: double them.")
    assert halve.headline().endswith(
        "the batch of 6 (2 to 21) environments; you use 32: halve them in a run of this length; a longer one needs "
        "more."
    )
    unsure = verdict_of(row(700, 120, 4100))
    assert unsure.headline().endswith(
        "you use 32: keep them, since the interval includes them; the best estimate says more, and only a sweep can "
        "decide."
    )
    assert "the batch of 29 (at most 88) environments;" in verdict_of(row(230, 0, 700)).headline()
    bound = verdict_of(row(None, 90, None))
    assert bound.headline() == ("Critical batch not known yet: at least 90 observations, about 150k more observations.")
    assert bound.noise_scale == "at least 900"
    large = verdict_of(row(None, 900, None))
    assert large.headline() == "Critical batch at least 900 observations; you use 32: double them."
    nothing = verdict_of(row(None, None, None, **{"noise/run_average_missing": None}))
    assert nothing.headline() == "Critical batch not known yet."
    assert verdict_of({}).sentence() == "Critical batch not known yet."
    assert verdict_of(row(0.4, 0.1, 1.2)).headline().count("the batch of 1 environment;") == 1


@pytest.mark.parametrize("now_high", [None, 400.0])
def test_half_the_batch_needs_the_critical_batch_of_now_too(now_high: float | None) -> None:
    """The beginning of a run is easy: its average alone must not halve the batch."""
    now = {"critical_batch/now_high": now_high}
    assert (
        verdict_of(row(50, 20, 170, **now)).headline().endswith("you use 32: keep them, since it may be larger by now.")
    )
    assert verdict_of(row(50, 20, 170, **now | {"critical_batch/now_high": 150.0})).decision is HALVE
    annealed = {"learning_rate": 1e-9, "noise/run_average_learning_rate": 3.75e-4}
    assert verdict_of(row(50, 20, 170, **now, **annealed)).decision is HALVE


def test_an_annealed_run_names_the_share_that_counts_and_a_constant_rate_does_not() -> None:
    annealed = {"learning_rate": 1e-9, "noise/run_average_share": 0.5, "noise/run_average_learning_rate": 3.75e-4}
    assert verdict_of(row(230, 80, 700, **annealed)).conditions == (
        "from the 50 % of the run before the learning rate fell below half",
        "learning rate 3.8e-4 on average",
        "calibrated on A2C",
    )


def test_a_run_whose_rate_has_fallen_cannot_learn_more_by_going_on() -> None:
    """More observations of an annealed run do not count: a longer run is needed."""
    late = {"learning_rate": 1e-5, "noise/run_average_share": 0.5, "noise/run_average_learning_rate": 3.75e-4}
    assert verdict_of(row(None, 90, None, **late)).headline() == (
        "Critical batch not known yet: at least 90 observations; a run about 2.5 times as long would show it."
    )


def test_late_is_what_the_run_average_leaves_out() -> None:
    """At 45 % of the highest rate no step counts, though that is 60 % of the mean rate so far."""
    falling = {"learning_rate": 0.45e-3, "noise/run_average_learning_rate": 0.75e-3, "noise/run_average_share": 0.9}
    assert "more observations" in verdict_of(row(None, 90, None, **falling)).headline()
    counted = falling | {"noise/run_average_tuned": False}
    assert "times as long would show it" in verdict_of(row(None, 90, None, **counted)).headline()
    average = RunAverage()
    for rate in np.linspace(1e-3, 0.45e-3, 50):
        average.update(grad_sq=1e-3, trace=0.4, batch=256, steps=4, learning_rate=float(rate))
    resumed = RunAverage()
    resumed.load_state_dict(json.loads(json.dumps(average.state_dict())))
    assert not average.estimate().tuned and resumed.estimate() == average.estimate()


def test_an_adaptive_batch_speaks_of_its_batch() -> None:
    text = verdict_of(row(230, 80, 700, batch_mode="adaptive")).headline()
    assert text == "Critical batch about 230 (80 to 700) observations; you use 256: keep it."
