"""What a noise scale says of the batch of a task that no calibration is of: images, text, another's trainer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rlgns.critical.schedule import TASK_RATIOS
from rlgns.critical.verdict import FROM_OUTLIERS, MARGIN, Decision, decide, many_outliers
from rlgns.formatting import count, first_upper, interval, rounded
from rlgns.noise.in_row import now_in, run_average_in


def sentence(row: Mapping[str, Any], unit: str, prefix: str = "noise") -> str:
    """Returns what a measured run says of its batch, in one or two sentences.

    The batch is the usual one of the newest measured steps. "Double" and "halve" hold at both of TASK_RATIOS and at
    both ends of the interval.

    Args:
        row: Of `NoiseScaleRecord`, with `batch_rows` where a row of data is several observations; may be empty.
        unit: Name of an observation, in the plural.
        prefix: Of its noise scale now, which stands in until the run average is known.
    """
    if not row:
        return "Noise scale not known yet: nothing was measured."
    scale = run_average_in(row)
    scale = now_in(row, prefix) if math.isnan(scale.low) else scale
    batch, rows = row["batch_observations"], row.get("batch_rows") or 0
    if not scale.low > 0 and not math.isfinite(scale.high):
        return f"Noise scale not known yet, after {row.get('noise/updates', 0)} measured steps."
    known = f"Noise scale about {interval(scale.value, scale.low, scale.high)} {unit}"
    if math.isinf(scale.high):
        known = f"Noise scale at least {rounded(scale.low)} {unit}"
    elif rows and round(batch) != rows and math.isfinite(scale.value):
        known += f", {rounded(scale.value / batch * rows)} rows of data"
    usual = row.get("usual_batch_observations", batch)
    use = f"a step has {count(usual)}"
    decision = decide(usual, scale.low / TASK_RATIOS[1], scale.high / TASK_RATIOS[0])
    advice = {
        Decision.DOUBLE: "double it",
        Decision.HALVE: "halve it",
        Decision.KEEP: "keep it",
        Decision.UNKNOWN: "not known yet whether to double it",
    }[decision]
    if decision is Decision.HALVE and not now_in(row, prefix).high < TASK_RATIOS[0] * usual / MARGIN:
        advice = "keep it, since it may be larger by now"  # as `rlgns.critical.verdict` has it
    within = f"For image classifiers and text the critical batch was within a factor of {TASK_RATIOS[1]:g} of it."
    if many_outliers(row):
        within = f"{first_upper(FROM_OUTLIERS)}. {within}"
    return f"{known}; {use}: {advice}. ({within})"
