"""Ratios of two measured numbers, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rlgns.critical.points import GoalFit


@dataclass(frozen=True, kw_only=True, slots=True)
class Factor:
    """A ratio with its interval; NaN where not known."""

    value: float
    low: float
    high: float


UNKNOWN = Factor(value=math.nan, low=math.nan, high=math.nan)


def noise_over_critical(goal: GoalFit) -> Factor:
    """Returns noise scale / critical batch with the interval that both give; NaN where one has an open end."""
    fit, noise = goal.fit, (goal.noise_scale, goal.noise_scale_low, goal.noise_scale_high)
    critical = (fit.critical_batch, fit.critical_batch_low, fit.critical_batch_high)
    known = fit.identified and all(0 < end < math.inf for end in (*noise, *critical))
    return ratio(noise, critical) if known else UNKNOWN


def ratio(over: tuple[float, float, float], under: tuple[float, float, float]) -> Factor:
    """Returns the ratio of two independent numbers, each with its low and high end (Donner and Zou 2012)."""
    (a, a_low, a_high), (b, b_low, b_high) = over, under
    below = math.hypot(math.log(a / a_low), math.log(b_high / b))
    above = math.hypot(math.log(a_high / a), math.log(b / b_low))
    return Factor(value=a / b, low=a / b * math.exp(-below), high=a / b * math.exp(above))
