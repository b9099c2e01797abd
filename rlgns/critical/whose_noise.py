"""Says which loss the noise scale is mostly of: the policy's or the value function's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlgns.formatting import MEASURING, interval, known, percent

HEAD = "noise by loss"
"""How the line begins."""


def whose_noise(row: Mapping[str, Any]) -> str:
    """Returns one line on whose noise it is; empty while the interval of the share has 1/2 in it.

    Args:
        row: Of metrics.jsonl.
    """
    share, low, high = (row.get(f"noise/by_loss/value/noise_share{end}") for end in ("", "_low", "_high"))
    if share is None or low is None or high is None or low <= 0.5 <= high:
        return ""
    rules, other = ("the value function's", "policy") if low > 0.5 else ("the policy's", "value")
    if low <= 0.5:
        share, low, high = 1 - share, 1 - high, 1 - low
    text = (
        f"{HEAD}, recently: {rules} gradients make {percent(share)} of the noise ({percent(low)} to "
        f"{percent(min(high, 1.0))})"
    )
    prefix = f"noise/by_loss/{other}"
    last = row.get(f"{prefix}/scale_high") if row.get(f"{prefix}/resolved") else None
    own = interval(row.get(f"{prefix}/scale"), row.get(f"{prefix}/scale_low"), last)
    if own == MEASURING or not known(row.get(f"{prefix}/scale_low")):
        return text
    name = "the policy" if other == "policy" else "the value function"
    return f"{text}; noise scale of {name} alone, along the steps: {own}"
