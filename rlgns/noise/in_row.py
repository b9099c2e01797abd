"""Noise scales with their intervals, as a row of metrics.jsonl has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rlgns.noise.interval import Ratio

Row = Mapping[str, Any]


def now_key(row: Row, prefix: str = "noise") -> str:
    """Returns the key of the noise scale now, whose interval allows for drift; in older rows of the smoothed one.

    Args:
        row: Of metrics.jsonl, or empty.
        prefix: `noise`, along the steps, or `noise/at_rollout`, at the parameters that played.
    """
    older = f"{prefix}/scale_low" in row and f"{prefix}/now_low" not in row
    return f"{prefix}/scale" if older else f"{prefix}/now"


def now_in(row: Row, prefix: str = "noise") -> Ratio:
    """Returns the noise scale now; arguments as in `now_key`."""
    return _scale_in(row, now_key(row, prefix), resolved=row.get(f"{prefix}/resolved", True))


def run_average_in(row: Row) -> Ratio:
    """Returns the average noise scale of the run up to this row."""
    return _scale_in(row, "noise/run_average", resolved=row.get("noise/run_average_resolved", True))


def _scale_in(row: Row, key: str, *, resolved: bool) -> Ratio:
    value, low, high = row.get(key), row.get(f"{key}_low"), row.get(f"{key}_high")
    bounded = resolved and high is not None and math.isfinite(high)
    return Ratio(
        value=float(value) if bounded and value is not None else math.nan,
        low=math.nan if low is None else float(low),
        high=float(high) if bounded and high is not None else math.inf,
    )
