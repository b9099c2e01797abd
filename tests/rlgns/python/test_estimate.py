"""What a run's rows say of its noise scale and critical batch: the row's own numbers, and those of older rows."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import rlgns
from rlgns.config.calibrations import calibration_for, run_calibrations
from rlgns.critical.run_average import RunAverage
from rlgns.critical.verdict import verdict_of
from rlgns.noise.in_row import now_in
from rlgns.python.estimate import run_estimate
from tests.rows import make_row, make_run

ENDS, NOW = ("", "_low", "_high"), ("now", "now_low", "now_high")


def test_it_is_the_newest_rows() -> None:
    row = make_row(100) | {"noise/now": 900.0, "noise/now_low": 300.0, "noise/now_high": 2800.0}
    found = run_estimate(row, level=0.9, preset="quick")
    for name, key in (("noise_scale", "noise/run_average"), ("noise_scale_now", "noise/now")):
        scale = getattr(found, name)
        assert (scale.value, scale.low, scale.high, scale.level) == (*(row[key + end] for end in ENDS), 0.9)
    for name, keys in (("critical_batch", ("predicted", "low", "high")), ("critical_batch_now", NOW)):
        batch = getattr(found, name)
        assert (batch.value, batch.low, batch.high) == tuple(row[f"critical_batch/{key}"] for key in keys)
        assert batch.level == 0.9
    assert (found.calibration, found.batch_observations) == ("calibrated on A2C", 256)
    lines = str(found).splitlines()
    assert lines[0] == verdict_of(row, preset="quick").sentence()
    assert lines[0].startswith("Critical batch about ") and "calibrated on A2C" in lines[0]
    assert lines[1] == f"run average: {found.noise_scale}"
    assert lines[2].startswith("now: noise scale ") and lines[2].endswith(" observations (90 %)")


def test_now_is_a_bound_where_drift_may_have_changed_too_much() -> None:
    row = make_row(100) | {"noise/now": 900.0, "noise/now_low": 300.0, "noise/now_high": None}
    assert str(run_estimate(row, level=0.95).noise_scale_now) == "noise scale at least 300 observations (95 %)"


def test_only_a_bound_is_known_where_the_signal_is_not_resolved() -> None:
    found = run_estimate(make_row(5), level=0.95)
    for scale in (found.noise_scale, found.noise_scale_now):
        assert math.isnan(scale.value) and scale.high == math.inf
        assert str(scale).startswith("noise scale at least ")
    assert math.isnan(found.critical_batch.value) and found.critical_batch.low > 0
    assert "not known yet" in found.verdict


def test_nothing_is_known_before_the_first_row() -> None:
    found = run_estimate({}, level=0.95)
    assert math.isnan(found.batch_observations) and found.calibration == ""
    assert str(found) == (
        "Critical batch not known yet.\nrun average: noise scale not known yet\nnow: noise scale not known yet"
    )


def test_rows_of_older_runs_are_completed(tmp_path: Path) -> None:
    new = ("noise/run_average", "critical_batch/")
    rows = [
        {name: value for name, value in make_row(i).items() if not name.startswith(new)}
        | {"critical_batch/predicted": make_row(i)["noise/scale"]}  # then the bare noise scale
        for i in range(1, 101)
    ]
    make_run(tmp_path / "run", rows)
    run = rlgns.load_run(tmp_path / "run")
    average = RunAverage()
    for row in rows:
        average.update_row(row, 16)
    slow = average.estimate(0.95)
    found = run.estimate()
    assert (found.noise_scale.value, found.noise_scale.low) == (slow.value, slow.low)
    calibration = calibration_for(algorithm="ppo", epochs=run.config.agent.epochs)
    assert found.critical_batch == calibration.predict(slow.value, slow.low, slow.high)
    assert run["critical_batch/predicted"][-1] == pytest.approx(found.critical_batch.value)
    now, of_now = now_in(run.rows[-1]), run_calibrations(algorithm="ppo", epochs=run.config.agent.epochs).now
    assert run["critical_batch/now_high"][-1] == pytest.approx(of_now.predict(now.value, now.low, now.high).high)
    assert not of_now.exact
