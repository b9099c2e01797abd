"""What a run's rows say of its noise scale and its critical batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlgns import formatting
from rlgns.critical.calibration import CriticalBatchPrediction
from rlgns.critical.verdict import verdict_of
from rlgns.noise.in_row import now_in, run_average_in
from rlgns.noise.interval import Ratio

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseScale:
    """A noise scale with its interval, in observations."""

    value: float
    """NaN where only the lower end or nothing is known."""
    low: float
    """NaN where nothing is known."""
    high: float
    """Infinite where only the lower end is known."""
    level: float
    """Confidence of the interval."""

    def __str__(self) -> str:
        return formatting.measured("noise scale", self.value, self.low, self.high, self.level)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEstimate:
    """The noise scale of a run and the critical batch that it predicts, in observations per optimizer step."""

    verdict: str
    """The critical batch, what follows for the batch in use, and at which learning rate: the line that ends a run."""
    noise_scale: NoiseScale
    """Average along the run, over the steps at the learning rate as tuned."""
    noise_scale_now: NoiseScale
    """Smoothed, at the newest row; its interval allows for drift over the horizon."""
    critical_batch: CriticalBatchPrediction
    """Predicted from the run's average. Its interval holds the calibration's error too."""
    critical_batch_now: CriticalBatchPrediction
    """Predicted from `noise_scale_now`."""
    calibration: str
    """What the prediction was calibrated on, in words; empty before the first row."""
    batch_observations: float
    """Batch in use at the newest row; NaN before the first."""

    def __str__(self) -> str:
        return f"{self.verdict}\nrun average: {self.noise_scale}\nnow: {self.noise_scale_now}"


def run_estimate(row: Row, *, level: float, preset: str = "") -> RunEstimate:
    """Returns what a run's newest row says of its noise scale and its critical batch.

    Args:
        row: Of metrics.jsonl, completed by `with_predictions`; empty before the first.
        level: Of the row's intervals.
        preset: Name of the run's preset, for the verdict.
    """
    return RunEstimate(
        verdict=verdict_of(row, preset=preset).sentence(),
        noise_scale=_noise_scale(run_average_in(row), level),
        noise_scale_now=_noise_scale(now_in(row), level),
        critical_batch=_critical_batch(row, "predicted", "", level),
        critical_batch_now=_critical_batch(row, "now", "now_", level),
        calibration=str(row.get("critical_batch/calibration") or ""),
        batch_observations=_number(row.get("batch_observations")),
    )


def _noise_scale(scale: Ratio, level: float) -> NoiseScale:
    return NoiseScale(value=scale.value, low=scale.low, high=scale.high, level=level)


def _critical_batch(row: Row, name: str, prefix: str, level: float) -> CriticalBatchPrediction:
    value, low, high = (row.get(f"critical_batch/{key}") for key in (name, f"{prefix}low", f"{prefix}high"))
    return CriticalBatchPrediction(value=_number(value), low=_number(low), high=_number(high, math.inf), level=level)


def _number(value: float | None, unknown: float = math.nan) -> float:
    return unknown if value is None else float(value)
