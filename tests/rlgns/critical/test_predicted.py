"""A row's critical batch: from the run average and from the moment's noise scale, and for rows of older runs."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from rlgns.critical.calibration import Calibration
from rlgns.critical.calibration_choice import RunCalibrations
from rlgns.critical.predicted import (
    average_entries,
    calibrated,
    critical_batch_entries,
    exchange_rate,
    with_predictions,
)
from rlgns.critical.run_average import RunAverage

A2C = Calibration(
    name="a2c",
    algorithm="a2c",
    epochs=1,
    definition="any",
    games=4,
    goals=26,
    log_ratio=math.log(0.2),
    log_ratio_sd=0.1,
    game_sd=0.2,
    goal_sd=0.4,
    run_sd=0.0,
    degrees_of_freedom=15.0,
)
BOTH = RunCalibrations(average=A2C, now=A2C)
KNOWN = {
    "batch_observations": 256,
    "noise/scale": 2000.0,
    "noise/scale_low": 1500.0,
    "noise/scale_high": 2500.0,
    "noise/resolved": True,
    "noise/run_average": 1000.0,
    "noise/run_average_low": 800.0,
    "noise/run_average_high": 1300.0,
    "noise/run_average_resolved": True,
}


def test_the_runs_number_comes_from_its_average_and_the_moments_from_the_smoothed_scale() -> None:
    found = critical_batch_entries(KNOWN, BOTH)
    assert (found["critical_batch/predicted"], found["critical_batch/now"]) == (pytest.approx(200), pytest.approx(400))
    predicted = A2C.predict(1000, 800, 1300)
    assert (found["critical_batch/low"], found["critical_batch/high"]) == (predicted.low, predicted.high)
    assert found["critical_batch/low"] < 160 and found["critical_batch/high"] > 260  # wider than what was measured
    assert found["critical_batch/now_low"] < 300 < 500 < found["critical_batch/now_high"]
    assert found["advice/twice_envs_step_ratio"] == pytest.approx((2 * 256 + 200) / (2 * (256 + 200)))
    assert "calibrated on A2C" in found["critical_batch/calibration"]


def test_the_moments_interval_includes_drift() -> None:
    row = KNOWN | {"noise/now": 2000.0, "noise/now_low": 900.0, "noise/now_high": 9000.0}
    found, calibrated_now = critical_batch_entries(row, BOTH), A2C.predict(2000, 900, 9000)
    assert found["critical_batch/now"] == pytest.approx(400)
    assert (found["critical_batch/now_low"], found["critical_batch/now_high"]) == (
        calibrated_now.low,
        calibrated_now.high,
    )
    open_ended = critical_batch_entries(row | {"noise/now_high": None}, BOTH)
    assert math.isinf(open_ended["critical_batch/now_high"])
    assert 0 < open_ended["critical_batch/now_low"] <= calibrated_now.low
    bound = critical_batch_entries(row | {"noise/resolved": False}, BOTH)
    assert math.isnan(bound["critical_batch/now"]) and 0 < bound["critical_batch/now_low"] < 180


def test_the_moment_has_a_calibration_of_its_own() -> None:
    wide = dataclasses.replace(A2C, widening_sd=0.6)
    found, plain = (critical_batch_entries(KNOWN, RunCalibrations(average=A2C, now=now)) for now in (wide, A2C))
    assert found["critical_batch/now_high"] > plain["critical_batch/now_high"]
    assert found["critical_batch/high"] == plain["critical_batch/high"]


def test_a_bound_stays_a_bound() -> None:
    row = KNOWN | {"noise/run_average_resolved": False, "noise/run_average_high": math.inf}
    found = critical_batch_entries(row, BOTH)
    assert math.isnan(found["critical_batch/predicted"]) and math.isinf(found["critical_batch/high"])
    assert 0 < found["critical_batch/low"] < 160
    assert found["advice/twice_envs_step_ratio"] is None and found["critical_batch/now"] == pytest.approx(400)
    assert exchange_rate(row, A2C) == pytest.approx(160) and exchange_rate(KNOWN, A2C) == pytest.approx(200)
    assert math.isnan(exchange_rate({}, A2C))
    assert (calibrated(math.inf, A2C), calibrated(0.0, A2C)) == (math.inf, 0.0)


def rows(count: int = 120) -> list[dict[str, Any]]:
    """Rows as an older version wrote them: the bare noise scale is their critical batch."""
    rng = np.random.default_rng(0)
    return [
        KNOWN
        | {
            "optimizer_steps": 8 * (i + 1),
            "learning_rate": 5e-4 * (1 - i / count),
            "noise/grad_sq": 1e-3 * (1 + 0.5 * float(rng.standard_normal())),
            "noise/trace": 1.0 if i <= count / 2 else 50.0,
            "critical_batch/predicted": 2000.0,
        }
        for i in range(count)
    ]


def test_rows_of_older_runs_are_completed_as_they_would_have_been_logged() -> None:
    old = [{name: v for name, v in row.items() if not name.startswith("noise/run_average")} for row in rows()]
    completed = with_predictions([{"note": "no training"}, *old], BOTH)
    assert completed[0] == {"note": "no training"}
    live, steps = RunAverage(), 0.0
    for row, new in zip(old, completed[1:], strict=True):
        live.update_row(row, row["optimizer_steps"] - steps)
        steps = row["optimizer_steps"]
        for name, value in average_entries(live.estimate()).items():
            assert new[name] == (value if math.isfinite(value) else None), name
    last = completed[-1]
    assert last["noise/run_average"] == pytest.approx(1000, rel=0.1)  # the annealed half does not count
    assert last["critical_batch/predicted"] == pytest.approx(0.2 * last["noise/run_average"])
    assert old[-1]["critical_batch/predicted"] == 2000


def test_rows_that_have_everything_stay() -> None:
    new = rows()
    assert with_predictions(new, BOTH) is new
