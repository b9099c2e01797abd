"""A noise scale that was measured by brute force: the truth that estimators are compared with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from rlgns.noise.interval import Ratio

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """|G|^2, tr(Sigma) and their ratio, at the parameters that played or along the steps; jackknife errors."""

    grad_sq: float
    """|G|^2, unbiased; along the steps a weighted mean over them."""
    grad_sq_error: float
    trace: float
    """tr(Sigma) per observation, unbiased, rollouts of whole environments as the unit; along the steps likewise."""
    trace_error: float
    noise_scale: float
    """trace / grad_sq, observations; NaN where grad_sq is not positive."""
    noise_scale_low: float
    """95 % interval, formed on |G|^2 / trace, whose noise is the more symmetric."""
    noise_scale_high: float
    """Infinite where |G|^2 is not resolved."""
    without_set: Array
    """[sets, 2] grad_sq and trace with one set left out: for jackknife errors of comparisons."""


def truth_fields(value: Array, left: Array, without_set: Array) -> dict[str, Any]:
    """Returns the fields of a Truth.

    Args:
        value: [2], grad_sq and trace.
        left: [n, 2], the same with one of the jackknife's n units left out.
        without_set: [sets, 2], the same with one set left out.
    """
    errors, scale = jackknife_error(left), noise_scale_interval(value, left)
    return {
        "grad_sq": float(value[0]),
        "grad_sq_error": float(errors[0]),
        "trace": float(value[1]),
        "trace_error": float(errors[1]),
        "noise_scale": scale.value,
        "noise_scale_low": scale.low,
        "noise_scale_high": scale.high,
        "without_set": without_set,
    }


def noise_scale_interval(value: Array, left: Array) -> Ratio:
    """Returns trace / grad_sq with its 95 % interval, formed on the inverse, whose noise is the more symmetric.

    Args:
        value: [2], grad_sq and trace.
        left: [n, 2], the same with one of n units left out.

    Returns:
        The noise scale is NaN where grad_sq is not positive, the high end infinite where grad_sq is not resolved.
    """
    inverse, error = value[0] / value[1], float(jackknife_error(left[:, 0] / left[:, 1]))
    margin = float(stdtrit(len(left) - 1, 0.975)) * error
    return Ratio(
        value=float(1 / inverse) if inverse > 0 else math.nan,
        low=float(1 / (inverse + margin)) if inverse + margin > 0 else math.nan,
        high=float(1 / (inverse - margin)) if inverse > margin else math.inf,
    )


def leave_one_out(statistic: Callable[[NDArray[np.bool_]], Array], count: int) -> Array:
    """Returns a statistic [count, ...] with each of `count` units left out in turn; it takes a mask of those kept."""
    return np.array([statistic(np.arange(count) != index) for index in range(count)])


def jackknife_error(left_out: Array) -> Array:
    """Returns standard errors from estimates [n, ...] that leave out one of n units each."""
    n = len(left_out)
    errors: Array = np.sqrt((n - 1) / n * ((left_out - left_out.mean(0)) ** 2).sum(0))
    return errors
