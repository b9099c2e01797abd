"""A goal's fit as short texts: its score, critical batch, noise scale, and growth between two values."""

from __future__ import annotations

from rlgns import formatting
from rlgns.critical.points import GoalFit


def growth_text(first: float, last: float) -> str:
    """Returns 'grows 4.1x', 'falls 2x' or 'hardly changes'."""
    ratio = last / first
    if 0.87 < ratio < 1.15:
        return "hardly changes"
    return f"grows {formatting.times(ratio)}" if ratio > 1 else f"falls {formatting.times(1 / ratio)}"


def goal_score_text(goal: GoalFit) -> str:
    """Returns the goal's score: '1,500'."""
    return f"{goal.goal_score:,g}"


def critical_batch_text(goal: GoalFit) -> str:
    """Returns the critical batch with its interval: '290 (180 to 460)', 'at least 900' or 'not identified'."""
    fit = goal.fit
    text = formatting.interval(
        fit.critical_batch if fit.identified else None, fit.critical_batch_low, fit.critical_batch_high
    )
    return "not identified" if text == formatting.MEASURING else text


def noise_scale_text(goal: GoalFit) -> str:
    """Returns the noise scale of the goal's runs with its interval; a dash where none was measured."""
    text = formatting.interval(goal.noise_scale, goal.noise_scale_low, goal.noise_scale_high)
    return formatting.NOTHING if text == formatting.MEASURING else text
