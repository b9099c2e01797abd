"""The critical batch that a run's noise scales predict: entries of a metrics row, live and for rows of older runs.

`critical_batch/predicted` is the run's: the average noise scale along its path, calibrated. `critical_batch/now` is the
moment's: the smoothed noise scale, calibrated, in the interval of what holds now, drift included. Both have the
calibration's error in their intervals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rlgns.critical.advice import twice_envs, twice_steps
from rlgns.critical.calibration import Calibration
from rlgns.critical.calibration_choice import RunCalibrations
from rlgns.critical.run_average import AverageEstimate, RunAverage
from rlgns.noise.in_row import now_in, run_average_in

Row = Mapping[str, Any]

NOW = ("now", "now_low", "now_high")


def average_entries(average: AverageEstimate) -> dict[str, Any]:
    """Returns the entries of a row about the run average."""
    return {
        "noise/run_average": average.value,
        "noise/run_average_low": average.low,
        "noise/run_average_high": average.high,
        "noise/run_average_resolved": average.resolved,
        "noise/run_average_share": average.share,
        "noise/run_average_learning_rate": average.learning_rate,
        "noise/run_average_tuned": average.tuned,
        "noise/run_average_outlier_share": average.outlier_share,
        "noise/run_average_missing": average.missing,
    }


def critical_batch_entries(
    row: Row, calibrations: RunCalibrations, level: float = 0.95, *, now: str = "noise"
) -> dict[str, Any]:
    """Returns the entries of a row about the critical batch and its advice; NaN, infinity or None where not known.

    Args:
        row: With `noise/now*`, `noise/resolved`, `noise/run_average*` and `batch_observations`; a row of an older
            version has `noise/scale*` instead of the first.
        calibrations: For the run's algorithm and epochs.
        level: Of the intervals.
        now: What stands for `noise` in `noise/now*` and `noise/resolved`.
    """
    entries: dict[str, Any] = {"critical_batch/calibration": calibrations.average.label}
    for names, scale, calibration in (
        (("predicted", "low", "high"), run_average_in(row), calibrations.average),
        (NOW, now_in(row, now), calibrations.now),
    ):
        found = calibration.predict(scale.value, scale.low, scale.high, level)
        for name, number in zip(names, (found.value, found.low, found.high), strict=True):
            entries[f"critical_batch/{name}"] = number
    low, value, high = (entries[f"critical_batch/{name}"] for name in ("low", "predicted", "high"))
    advice = twice_envs(low, value, high, row["batch_observations"])
    entries["advice/twice_envs_step_ratio"] = advice.step_ratio
    entries["advice/twice_envs_observation_ratio"] = advice.observation_ratio
    if "noise/twice_steps_noise" in row:
        longer = twice_steps(low, value, high, row["batch_observations"], noise=row["noise/twice_steps_noise"])
        entries["advice/twice_steps_step_ratio"] = longer.step_ratio
        entries["advice/twice_steps_observation_ratio"] = longer.observation_ratio
    return entries


def with_predictions(rows: Sequence[Row], calibrations: RunCalibrations, level: float = 0.95) -> Sequence[Row]:
    """Returns rows that all have the run average and what it predicts, from their raw moments where any row lacks it.

    Args:
        rows: Of metrics.jsonl, oldest first.
        calibrations: For the run's algorithm and epochs.
        level: Of the intervals.
    """
    if all("noise/run_average" in row for row in rows):
        return rows
    average, steps, completed = RunAverage(), 0.0, []
    for row in rows:
        if row.get("optimizer_steps") is None or not row.get("batch_observations"):
            completed.append(row)  # not a row of training
            continue
        average.update_row(row, max(0.0, row["optimizer_steps"] - steps))
        steps = row["optimizer_steps"]
        new = {**row, **average_entries(average.estimate(level))}
        completed.append(_finite(new | critical_batch_entries(new, calibrations, level)))
    return completed


def exchange_rate(row: Row, calibration: Calibration) -> float:
    """Returns E_min / S_min of the run so far, observations: its critical batch, or its bound's; NaN where unknown."""
    scale = run_average_in(row)
    return calibrated(scale.low if math.isnan(scale.value) else scale.value, calibration)


def calibrated(scale: float, calibration: Calibration) -> float:
    """Returns the critical batch at a noise scale by the best estimate alone; NaN, infinity and 0 stay."""
    return calibration.predict(scale, scale, scale).value if 0 < scale < math.inf else scale


def _finite(row: Row) -> dict[str, Any]:
    """The row as a file would have it: None for NaN and infinity."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }
