"""A goal's fit as short texts: its score, critical batch, noise scale, and growth between two values."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rlgns import formatting
from rlgns.critical.factor import noise_over_critical
from rlgns.critical.points import GoalFit
from rlgns.formatting import known


def growth_text(first: float, last: float) -> str:
    """Returns 'grows 4.1x', 'falls 2x' or 'hardly changes'."""
    ratio = last / first
    if 0.87 < ratio < 1.15:
        return "hardly changes"
    return f"grows {formatting.times(ratio)}" if ratio > 1 else f"falls {formatting.times(1 / ratio)}"


def critical_batch_text(goal: GoalFit) -> str:
    """Returns the critical batch with its interval: '290 (180 to 460)', 'at least 900' or 'not identified'."""
    fit = goal.fit
    text = formatting.interval(
        fit.critical_batch if fit.identified else None, fit.critical_batch_low, fit.critical_batch_high
    )
    return "not identified" if text == formatting.MEASURING else text


def noise_over_critical_text(goals: Sequence[GoalFit]) -> str:
    """Returns what the noise scale is over these goals' critical batches; empty where none has both.

    Of one goal with the interval of both; of several the geometric mean and the range, since goals of one run are not
    independent.
    """
    ratios = [goal.noise_over_critical for goal in goals if math.isfinite(goal.noise_over_critical)]
    if not ratios:
        return ""
    if len(ratios) > 1:
        span = f"{formatting.times(min(ratios))} to {formatting.times(max(ratios))}"
        mean = formatting.times(math.exp(math.fsum(map(math.log, ratios)) / len(ratios)))
        return f"The noise scale is {mean} the critical batch (geometric mean over {len(ratios)} goals, {span})."
    found = noise_over_critical(next(goal for goal in goals if math.isfinite(goal.noise_over_critical)))
    ends = f" ({formatting.times(found.low)} to {formatting.times(found.high)})" if known(found.low) else ""
    return f"The noise scale is {formatting.times(ratios[0])}{ends} the critical batch."


def noise_scale_text(goal: GoalFit) -> str:
    """Returns the noise scale of the goal's runs with its interval; a dash where none was measured."""
    text = formatting.interval(goal.noise_scale, goal.noise_scale_low, goal.noise_scale_high)
    return formatting.NOTHING if text == formatting.MEASURING else text
