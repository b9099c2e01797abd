"""The calibrated critical batch: a prediction's value, interval and label."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgns import formatting
from rlgns.critical.calibration import (
    AT_GOAL,
    KIND_DF,
    KIND_SD,
    PATH_AVERAGE,
    SMOOTHED,
    Calibration,
    CriticalBatchPrediction,
)
from rlgns.critical.calibration_choice import nearest_calibration, one_of_each
from rlgns.fit.paper import paper_tasks

A2C = Calibration(
    name="a2c",
    algorithm="a2c",
    epochs=1,
    definition=AT_GOAL,
    games=4,
    goals=26,
    log_ratio=-1.85,
    log_ratio_sd=0.15,
    game_sd=0.2,
    goal_sd=0.5,
    run_sd=0.0,
    degrees_of_freedom=17.5,
)
PPO = dataclasses.replace(A2C, name="ppo4", algorithm="ppo", epochs=4, definition=PATH_AVERAGE, log_ratio=-1.0)
ANY_NUMBER = st.floats() | st.floats(1, 1e6)


def factor(prediction: CriticalBatchPrediction) -> float:
    return prediction.high / prediction.low


def test_a_noise_scale_known_exactly_leaves_the_proxys_error() -> None:
    found = A2C.predict(6400, 6400, 6400)
    assert found.value == pytest.approx(6400 * math.exp(-1.85))
    half = 2.1051 * math.sqrt(0.15**2 + 0.2**2 + 0.5**2)  # Student's t at 17.5 degrees of freedom, from tables
    assert math.log(found.high / found.value) == pytest.approx(half, rel=2e-3)
    assert math.log(found.value / found.low) == pytest.approx(half, rel=2e-3)
    assert factor(A2C.predict(6400, 6400, 6400, level=0.8)) < factor(found)


def test_the_measurements_interval_adds_on_its_own_side() -> None:
    exact, measured = A2C.predict(6400, 6400, 6400), A2C.predict(6400, 6400 / 1.01, 6400 * 20)
    assert measured.value == exact.value and measured.low == pytest.approx(exact.low, rel=1e-3)
    proxy = math.log(exact.high / exact.value)
    assert math.log(measured.high / measured.value) == pytest.approx(math.hypot(proxy, math.log(20)))


def test_a_bound_gives_a_bound_and_nothing_gives_nothing() -> None:
    exact = A2C.predict(1000, 1000, 1000)
    for scale, high in ((math.nan, math.inf), (5000, math.inf), (math.nan, math.nan), (math.inf, math.inf)):
        bound = A2C.predict(scale, 1000, high)
        assert math.isnan(bound.value) and bound.high == math.inf
        assert bound.low == pytest.approx(exact.low)
    for low in (math.nan, 0.0, -3.0, math.inf):
        nothing = A2C.predict(math.nan, low, math.inf)
        assert math.isnan(nothing.value) and math.isnan(nothing.low) and nothing.high == math.inf
    assert A2C.predict(1000, 0, 2000).low == 0


def test_a_prediction_prints_as_a_sentence() -> None:
    found = A2C.predict(1000, 800, 1250, level=0.9)
    low, value, high = (formatting.rounded(number) for number in (found.low, found.value, found.high))
    assert str(found) == f"critical batch {value} ({low} to {high}) observations (90 %)"
    bound = A2C.predict(math.nan, 1000, math.inf)
    assert str(bound) == f"critical batch at least {formatting.rounded(bound.low)} observations (95 %)"
    assert str(CriticalBatchPrediction()) == "critical batch not known yet"
    assert repr(bound).startswith("CriticalBatchPrediction(value=nan")


@settings(max_examples=100, deadline=None)
@given(ANY_NUMBER, ANY_NUMBER, ANY_NUMBER)
def test_no_input_breaks_it_and_no_interval_is_narrower_than_the_proxys(scale: float, low: float, high: float) -> None:
    found = A2C.predict(scale, low, high)
    if math.isnan(found.value):
        assert found.high == math.inf and (math.isnan(found.low) or found.low >= 0)
    else:
        assert found.low <= found.value <= found.high
        exact = A2C.predict(scale, scale, scale)
        assert found.low <= exact.low * 1.000001 and found.high >= exact.high * 0.999999


def test_coverage_with_a_measured_noise_scale() -> None:
    """400 draws of a new game and of its measurement, fixed before looking; without the interval of N it must fail."""
    rng, hits, without, sd = np.random.default_rng(1), 0, 0, 0.6
    for _ in range(400):
        error = A2C.log_ratio_sd * rng.normal() + A2C.game_sd * rng.normal() + A2C.goal_sd * rng.normal()
        error *= math.sqrt(17.5 / rng.chisquare(17.5))  # the fitted variance is itself an estimate
        truth, measured = 3000 * math.exp(A2C.log_ratio + error), 3000 * math.exp(sd * rng.normal())
        ends = measured * math.exp(-1.96 * sd), measured * math.exp(1.96 * sd)
        found, narrow = A2C.predict(measured, *ends), A2C.predict(measured, measured, measured)
        hits += found.low <= truth <= found.high
        without += narrow.low <= truth <= narrow.high
    assert 0.93 <= hits / 400 <= 0.97
    assert without / 400 < 0.9


def test_what_fits_serves_and_what_does_not_is_widened_and_labelled() -> None:
    found = [A2C, PPO]
    exact = nearest_calibration(found, algorithm="a2c", epochs=1)
    assert exact == A2C and exact.label == "calibrated on A2C: 4 games"
    ten = nearest_calibration(found, algorithm="ppo", epochs=10)
    assert (ten.name, ten.exact, ten.label) == ("ppo4", False, "calibrated on PPO with 4 epochs")
    other = nearest_calibration([A2C], algorithm="ppo", epochs=4)
    assert (other.name, other.exact, other.label) == ("a2c", False, "calibrated on A2C")
    path = nearest_calibration(found, algorithm="a2c", epochs=1, definition=PATH_AVERAGE)
    assert path.name == "a2c" and not path.exact
    assert nearest_calibration(found, algorithm="ppo", epochs=4, definition=PATH_AVERAGE).exact
    rollout = nearest_calibration(found, algorithm="ppo", epochs=4, definition="at the parameters that played")
    assert (rollout.name, rollout.exact) == ("a2c", False)  # along the steps PPO's noise scale is another quantity
    now = nearest_calibration(found, algorithm="ppo", epochs=4, definition=SMOOTHED)
    assert (now.name, now.exact) == ("ppo4", False) and now.proxy_sd > PPO.proxy_sd
    assert nearest_calibration(found, algorithm="a2c", epochs=1, definition=SMOOTHED) == A2C
    narrow, wide = A2C.predict(5000, 4000, 7000), other.predict(5000, 4000, 7000)
    assert wide.low < narrow.low < narrow.value == wide.value < narrow.high < wide.high
    one = dataclasses.replace(PPO, games=1)
    assert one.label == "calibrated on PPO: 1 game"


def test_the_widening_is_the_spread_within_a_kind_of_task_and_between_calibrations() -> None:
    tasks = {t.task: math.log(t.critical_batch_end / t.noise_scale_average) for t in paper_tasks()}
    kinds = [("MNIST", "SVHN", "CIFAR10", "ImageNet"), ("Autoencoder (SVHN)", "VAE (SVHN)")]
    squares = sum(float(np.var([tasks[name] for name in kind])) * len(kind) for kind in kinds)
    assert pytest.approx(math.sqrt(squares / KIND_DF), abs=1e-3) == KIND_SD
    alone = nearest_calibration([A2C], algorithm="ppo", epochs=4)
    assert alone.widening_sd == pytest.approx(KIND_SD)
    assert KIND_DF < alone.degrees_of_freedom < A2C.degrees_of_freedom
    far = dataclasses.replace(PPO, log_ratio=A2C.log_ratio + 3.0)
    assert nearest_calibration([A2C, far], algorithm="ppo", epochs=1).widening_sd > 1
    borrowed = dataclasses.replace(far, games=1)
    assert nearest_calibration([A2C, borrowed], algorithm="a2c", epochs=2).widening_sd == pytest.approx(KIND_SD)


def test_ones_own_calibration_serves_instead_of_a_shipped_one() -> None:
    own = dataclasses.replace(PPO, name="zulu", games=2)
    for found in ([A2C, PPO, own], [own, A2C, PPO]):
        assert {one.name for one in one_of_each(found)} == {"a2c", "zulu"}
        chosen = nearest_calibration(one_of_each(found), algorithm="ppo", epochs=4)
        assert chosen.label == "calibrated on PPO: 2 games (zulu)"
    copies = [A2C, PPO, *(dataclasses.replace(PPO, name=f"copy{i}") for i in range(1))]
    one, two = (nearest_calibration(one_of_each(some), algorithm="ppo", epochs=3) for some in ([A2C, PPO], copies))
    assert one.widening_sd == two.widening_sd  # a copy is no further calibration
    with pytest.raises(ValueError, match="alpha and zulu are both for ppo with 4 epochs"):
        one_of_each([PPO, dataclasses.replace(own, name="alpha"), own])


@pytest.mark.parametrize(
    ("name", "value"),
    [("goal_sd", -1.0), ("degrees_of_freedom", 0.5), ("epochs", 0), ("log_ratio", math.nan), ("game_sd", math.inf)],
)
def test_impossible_numbers_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(A2C, **{name: value})
    with pytest.raises(ValueError, match="level"):
        A2C.predict(1, 1, 1, level=1)
