"""What the run itself logged at a checkpoint, and whether brute force agrees."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rlgns.noise.interval import Ratio
from rlgns.storage.run_folder import RunFolder

PREFIXES = {"along_steps": "noise", "at_rollout": "noise/at_rollout"}
"""Where a row has the two noise scales."""


def row_at(checkpoint: Path, iteration: int) -> dict[str, Any]:
    """Returns the run's row of the checkpoint's iteration; empty where the checkpoint is not in a run's folder."""
    for folder in (checkpoint, *checkpoint.resolve().parents[:2]):
        run = RunFolder(folder)
        if run.config_path.is_file() and run.metrics_path.is_file():
            return next((row for row in run.rows() if row.get("iteration") == iteration), {})
    return {}


def over(run: Ratio, truth: Ratio) -> Ratio:
    """Returns a run's noise scale over the truth, with an interval that holds both errors, independent and in logs.

    The value is NaN where either has only a lower bound; the interval is then what the bounds allow.
    """
    if math.isfinite(run.value) and math.isfinite(truth.value):
        down, up = _distance(run.low, run.value), _distance(run.value, run.high)
        true_down, true_up = _distance(truth.low, truth.value), _distance(truth.value, truth.high)
        value = run.value / truth.value
        return Ratio(
            value=value, low=value * math.exp(-math.hypot(down, true_up)), high=value * _exp(math.hypot(up, true_down))
        )
    low = run.low / truth.high if truth.high > 0 else 0.0
    return Ratio(value=math.nan, low=low, high=run.high / truth.low if truth.low > 0 else math.inf)


def agrees(ratio: Ratio) -> bool:
    """Returns whether the interval of a ratio holds 1."""
    return ratio.low <= 1 <= ratio.high


def _distance(low: float, high: float) -> float:
    return math.log(high / low) if low > 0 and math.isfinite(high) else math.inf


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
