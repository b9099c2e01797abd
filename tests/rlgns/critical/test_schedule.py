"""A schedule against a known critical batch, a slow isotonic twin, and rows as hosts log them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from rlgns.critical.schedule import TASK_RATIOS, MeasuredPoint, _rising, measured_points, schedule

ENDS = (("", 1.0), ("_low", 1 / 1.2), ("_high", 1.2))


def point(observations: float, value: float, spread: float = 1.2, batch: float = 64.0) -> MeasuredPoint:
    return MeasuredPoint(observations=observations, batch=batch, value=value, low=value / spread, high=value * spread)


def test_stages_are_the_nearest_powers_of_two_of_a_growing_critical_batch() -> None:
    found = schedule([point(1000 * k, 64 * 1.1**k) for k in range(1, 31)])
    assert [stage.batch for stage in found.stages] == [64, 128, 256, 512, 1024]
    for stage in found.stages[1:]:
        value = stage.critical_batch[0]
        assert stage.batch / math.sqrt(2) <= value < stage.batch / math.sqrt(2) * 1.1
    assert [stage.begins for stage in found.stages] == sorted(stage.begins for stage in found.stages)


def test_observations_and_steps_are_those_of_the_papers_law() -> None:
    """At a constant critical batch the run's progress takes E (1 + B'/C) / (1 + B/C) observations."""
    found = schedule([point(1000 * k, 1024.0) for k in range(1, 11)])
    (stage,) = found.stages
    assert stage.batch == 1024 and stage.begins == 0 and stage.sure_at == 0
    assert found.observations == pytest.approx(10_000 * (1 + 1) / (1 + 64 / 1024))
    assert found.optimizer_steps == pytest.approx(found.observations / 1024)
    assert (found.measured_observations, found.measured_steps) == (10_000, pytest.approx(10_000 / 64))


def test_steps_that_learn_from_an_observation_several_times_are_counted() -> None:
    points = [
        MeasuredPoint(observations=n, batch=64, value=128, low=100, high=160, steps=4 * n / 64) for n in (640, 1280)
    ]
    found = schedule(points)
    assert found.measured_steps == 80
    assert found.optimizer_steps == pytest.approx(4 * found.observations / 128)


def test_a_batch_is_sure_from_where_the_interval_asks_for_it() -> None:
    points = [point(1000 * k, 64 * 1.2**k, spread=2.0) for k in range(1, 11)]
    found, sure = schedule(points), schedule(points, sure=True)
    doubled = found.stages[1]
    asks = next(p for p in points if p.low > math.sqrt(2) * 64)
    assert doubled.batch == 128 and doubled.sure_at == asks.observations - 1000 > doubled.measured_at
    assert sure.stages[1].batch == 128 and sure.stages[1].measured_at == doubled.sure_at
    assert math.isnan(found.stages[-1].sure_at) and sure.stages[-1].batch < found.stages[-1].batch


def test_a_bound_alone_never_makes_the_batch_smaller() -> None:
    bounded = MeasuredPoint(observations=1000, batch=64, value=math.nan, low=0.01, high=math.inf)
    for sure in (False, True):
        found = schedule([bounded, point(2000, 80)], sure=sure)
        assert [stage.batch for stage in found.stages] == [64]
        assert found.observations == pytest.approx(2000) and found.optimizer_steps == pytest.approx(2000 / 64)
    asks = MeasuredPoint(observations=1000, batch=64, value=math.nan, low=300, high=math.inf)
    assert schedule([asks]).stages[0].batch == 256


def test_a_smaller_batch_is_sure_where_the_upper_end_asks_for_it() -> None:
    found = schedule([point(1000, 10, spread=1.2), point(2000, 100)], sure=True)
    assert [stage.batch for stage in found.stages] == [16, 64] and found.stages[0].sure_at == 0
    assert [stage.batch for stage in schedule([point(1000, 10, spread=8.0)], sure=True).stages] == [64]


def test_limits_hold() -> None:
    points = [point(1000 * k, 8 * 2.0**k) for k in range(1, 8)]
    assert [stage.batch for stage in schedule(points, least=32, most=300).stages] == [32, 64, 128, 256]
    with pytest.raises(ValueError, match="need 1 <= least <= most, got 64 and 32"):
        schedule(points, least=64, most=32)
    with pytest.raises(ValueError, match="at least one measured critical batch"):
        schedule([])


def test_a_falling_learning_rate_leaves_the_batch_as_it_is() -> None:
    """The critical batch grows all along; it counts while the rate is at least half of its highest."""

    def rows(rate_of: Callable[[int], float]) -> list[dict[str, float]]:
        return [
            {
                "observations": 1000 * k,
                "batch_observations": 64,
                "learning_rate": rate_of(k),
                **{f"critical_batch/now{end}": factor * 64 * 1.1**k for end, factor in ENDS},
            }
            for k in range(1, 31)
        ]

    constant = schedule(measured_points(rows(lambda k: 1e-3)))
    falling = schedule(measured_points(rows(lambda k: 1e-3 * (1 - k / 31))))
    assert [stage.batch for stage in constant.stages] == [64, 128, 256, 512, 1024] and math.isnan(constant.late_from)
    assert falling.stages == constant.stages[:3] and falling.late_from == 16_000
    points = measured_points(rows(lambda k: 1e-3 if k < 16 else 4e-4))[:16]
    assert points[-1].late and not points[-2].late
    assert falling.measured_observations == 30_000


def test_the_batch_and_the_cost_of_progress_stay_while_nothing_new_is_known() -> None:
    """Late points and points with a bound alone cost what the last critical batch before them says."""
    tuned = [point(1000 * k, 256.0) for k in range(1, 11)]
    for late, low in ((True, 0.0), (False, 100.0)):
        unknown = MeasuredPoint(observations=11_000, batch=64, value=math.nan, low=low, high=math.inf, late=late)
        found = schedule([*tuned, unknown])
        (stage,) = found.stages
        assert stage.batch == 256 and (found.late_from == 10_000 or not late)
        assert found.observations == pytest.approx(11_000 * (1 + 1) / (1 + 64 / 256))
        assert found.optimizer_steps == pytest.approx(found.observations / 256)


def test_a_small_last_batch_of_an_epoch_is_no_decaying_rate_and_repeated_rows_change_nothing() -> None:
    """In a host's log a batch may be small, and the newest measurement comes again until the next."""
    rows = [
        {
            "noise/observations": 1000.0 * k,
            "noise/batch_observations": 7.0 if k == 5 else 64.0,
            "learning_rate": 1e-3,
            **{f"noise/now{end}": 8 * factor * 64 * 1.1**k for end, factor in ENDS},
        }
        for k in range(1, 31)
    ]
    points = measured_points(rows)
    assert len(points) == 30 and not any(p.late for p in points)
    repeated = measured_points([row for row in rows for _ in range(3)])
    assert repeated == points
    assert math.isfinite(schedule(repeated).optimizer_steps)


def slow_isotonic(logs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Least squares that never falls: the largest, over beginnings, of the smallest mean to any end."""
    count = len(logs)

    def mean(i: int, j: int) -> float:
        return float(np.average(logs[i : j + 1], weights=weights[i : j + 1]))

    return np.array([max(min(mean(i, j) for j in range(k, count)) for i in range(k + 1)) for k in range(count)])


def test_the_rising_fit_is_that_of_the_slow_twin() -> None:
    generator = np.random.default_rng(2)
    values, weights = np.exp(generator.normal(size=12)), generator.uniform(1, 3, size=12)
    np.testing.assert_allclose(_rising(list(values), weights), np.exp(slow_isotonic(np.log(values), weights)))
    holes = [*values[:4], math.inf, *values[4:], math.nan, 0.0]
    kept = _rising(holes, np.insert(np.append(weights, [1.0, 1.0]), 4, 1.0))
    np.testing.assert_allclose(np.delete(kept, [4, 13, 14]), _rising(list(values), weights))
    assert kept[4] == math.inf and math.isnan(kept[13]) and kept[14] == 0


def test_the_order_of_value_and_interval_survives() -> None:
    generator = np.random.default_rng(5)
    points = [point(100 * k, float(np.exp(generator.normal()) * 64)) for k in range(1, 40)]
    for stage in schedule(points).stages:
        value, low, high = stage.critical_batch
        assert low <= value <= high
    batches = [stage.batch for stage in schedule(points).stages]
    assert all(b / a >= 2 for a, b in itertools.pairwise(batches))


def test_rows_of_runs_and_of_hosts() -> None:
    run = {
        "observations": 100,
        "batch_observations": 64,
        "optimizer_steps": 8,
        "critical_batch/now": 300.0,
        "critical_batch/now_low": 100.0,
        "critical_batch/now_high": None,
        "noise/now": 5000.0,
    }
    host = {
        "noise/observations": "200",
        "noise/batch_observations": 64.0,
        "noise/now": 1000.0,
        "noise/now_low": 800.0,
        "noise/now_high": 1200.0,
    }
    first, second = measured_points([run, {"loss": 1.0}, {**run, "critical_batch/now_low": None}, host])
    assert (first.low, first.high, first.steps) == (100, math.inf, 8) and math.isnan(first.value)
    least, greatest = TASK_RATIOS
    assert (second.low, second.high) == (800 / greatest, 1200 / least) and second.observations == 200
    assert second.value == pytest.approx(1000 / math.sqrt(least * greatest)) and math.isnan(second.steps)
    completions = {name.replace("noise/now", "noise/at_rollout/now"): value for name, value in host.items()}
    assert measured_points([completions]) == [second]
