r"""Fieller's confidence set for the ratio R of two means T (trace) and G (grad_sq), R known not to be negative.

R is accepted where |T - R G| <= t sqrt(v(R)), v(R) = v_TT - 2 R v_TG + R^2 v_GG, t Student's two-sided quantile
(Fieller 1954, "Some problems in interval estimation", JRSS B 16). Where G > t sqrt(v_GG) that is an interval [low,
high]. Else |G|^2 is not resolved, every R above some low is accepted, and the answer is "at least low".

**The bound alone.** low is the smallest R >= 0 with T - R G <= t sqrt(v(R)). At the true R, T - R G has mean zero and
variance v(R), so it exceeds t sqrt(v(R)) with probability (1 - level) / 2: the bound alone holds with probability (1 +
level) / 2, which is 97.5 % at level 95 %. Where G < 0 the bound is evaluated at G = 0: T - R G shrinks at every R, so
more R are accepted, low can only fall, and the bound holds at least as often. (With G itself the set of R >= 0 could be
empty.) The moments reported stay as measured.

**Both ends.** A set misses R if its low lies above R or its high below: probability 1 - level in all. Coverage is a
property of the procedure: where most sets are unbounded, the few bounded ones are those whose G came out too large by
chance, and those few alone cover less. No procedure that always gives a bounded interval can do better: its coverage is
zero in the worst case (Gleser and Hwang 1987, Annals of Statistics 15), which is why a lower bound is a legitimate
answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from rlgns.noise.long_run_variance import mean_covariance


@dataclass(frozen=True, kw_only=True, slots=True)
class RatioInterval:
    """A confidence set for a ratio of means, the ratio known not to be negative."""

    low: float
    """Smallest accepted ratio, zero or positive; NaN where nothing is known."""

    high: float
    """Largest accepted ratio; infinite where only the lower bound is known."""

    resolved: bool
    """Whether the denominator is distinguishable from zero."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """A ratio with its interval; NaN where unknown, `high` infinite where only the lower bound is known."""

    value: float
    low: float
    high: float


UNKNOWN = RatioInterval(low=math.nan, high=math.inf, resolved=False)


def fieller(
    numerator: float, denominator: float, covariance: NDArray[np.float64], degrees_of_freedom: float, level: float
) -> RatioInterval:
    """Returns Fieller's confidence set for the ratio of two measured means.

    Args:
        numerator: mean of the numerator.
        denominator: mean of the denominator; its expectation is not negative, the measured value may be.
        covariance: [2, 2], of numerator and denominator.
        degrees_of_freedom: of the covariance.
        level: confidence, between 0 and 1.

    Returns:
        The interval, or a lower bound with an infinite high; `UNKNOWN` without degrees of freedom.
    """
    if degrees_of_freedom <= 0 or not np.all(np.isfinite([numerator, denominator, *covariance.flat])):
        return UNKNOWN
    quantile = float(stdtrit(degrees_of_freedom, 0.5 + level / 2))
    v_nn, v_nd, v_dd = (float(x) * quantile**2 for x in (covariance[0, 0], covariance[0, 1], covariance[1, 1]))
    resolved = denominator > 0 and denominator**2 > v_dd
    d = max(denominator, 0.0)
    # (n - R d)^2 = v_nn - 2 R v_nd + R^2 v_dd, written a R^2 - 2 h R + c = 0.
    a, h, c = d**2 - v_dd, numerator * d - v_nd, numerator**2 - v_nn
    # With d >= 0 and c > 0 the discriminant is negative only by rounding.
    root = math.sqrt(max(h * h - a * c, 0.0))
    # The smaller root, in a form that does not cancel and holds for either sign of `a`.
    low = c / (h + root) if c > 0 and h + root > 0 else 0.0
    if not resolved:
        return RatioInterval(low=low, high=math.inf, resolved=False)
    return RatioInterval(low=low, high=max((h + root) / a, low), resolved=True)


def ratio_interval(
    observations: NDArray[np.float64],
    weights: NDArray[np.float64],
    numerators: NDArray[np.float64],
    denominators: NDArray[np.float64],
    *,
    numerator: float,
    denominator: float,
    level: float,
) -> RatioInterval:
    """Returns Fieller's set for a ratio of weighted means, with their covariance estimated from blocks.

    Args:
        observations: [blocks], observations in each block, oldest first.
        weights: [blocks], weight of each in the means.
        numerators: [blocks], mean of each.
        denominators: [blocks], mean of each.
        numerator: weighted mean over everything.
        denominator: weighted mean over everything.
        level: confidence, between 0 and 1.

    Returns:
        The interval; `UNKNOWN` with fewer than 4 blocks.
    """
    covariance = mean_covariance(observations, weights, np.column_stack([numerators, denominators]))
    return fieller(numerator, denominator, covariance.matrix, covariance.degrees_of_freedom, level)
