"""What the run logged beside brute force: ratios with both errors, lower bounds, folders without rows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from rlgns.calibrate.run_numbers import agrees, over, row_at
from rlgns.noise.in_row import now_in, now_key
from rlgns.noise.interval import Ratio


def test_a_ratio_holds_both_errors() -> None:
    ratio = over(Ratio(value=300, low=150, high=600), Ratio(value=100, low=50, high=200))
    assert ratio.value == 3
    margin = math.exp(math.hypot(math.log(2), math.log(2)))
    assert (ratio.low, ratio.high) == pytest.approx((3 / margin, 3 * margin))
    assert not agrees(ratio)
    assert agrees(over(Ratio(value=300, low=100, high=900), Ratio(value=100, low=50, high=200)))


def test_bounds_alone_decide_where_a_value_is_not_known() -> None:
    truth = Ratio(value=2000, low=1500, high=3000)
    assert agrees(over(Ratio(value=math.nan, low=900, high=math.inf), truth))
    above = over(Ratio(value=math.nan, low=6000, high=math.inf), truth)
    assert math.isnan(above.value) and above.low == 2 and not agrees(above)
    below = over(Ratio(value=200, low=100, high=300), Ratio(value=math.nan, low=1500, high=math.inf))
    assert below.high == 0.2 and not agrees(below)


def test_an_unresolved_truth_makes_no_sure_ratio() -> None:
    ratio = over(Ratio(value=300, low=150, high=900), Ratio(value=1000, low=400, high=math.inf))
    assert ratio.value == 0.3 and ratio.low == 0 and agrees(ratio)


def test_reads_the_row_of_the_checkpoints_iteration(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "00000002"
    checkpoint.mkdir(parents=True)
    assert row_at(checkpoint, 2) == {}
    (tmp_path / "config.yaml").write_text("config: {}\nrun: {}\n")
    rows = [
        {"iteration": i, "noise/scale": 100.0 * i, "noise/scale_low": 50.0, "noise/scale_high": None} for i in (1, 2)
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for where in (tmp_path, checkpoint):
        row = row_at(where, 2)
        assert row["noise/scale"] == 200
        found = now_in(row)
        assert math.isnan(found.value) and (found.low, found.high) == (50, math.inf)
        assert math.isnan(now_in(row, "noise/at_rollout").low)
    assert row_at(checkpoint, 3) == {}


def test_takes_the_interval_that_allows_for_drift_where_there_is_one() -> None:
    older = {"noise/scale": 100.0, "noise/scale_low": 90.0, "noise/scale_high": 110.0}
    now = {"noise/now": 100.0, "noise/now_low": 60.0, "noise/now_high": 170.0}
    assert now_in(older) == Ratio(value=100, low=90, high=110)
    assert now_in(older | now) == Ratio(value=100, low=60, high=170)
    assert (now_key(older), now_key(older | now), now_key({})) == ("noise/scale", "noise/now", "noise/now")
