r"""How well the noise scale predicts the critical batch over games and tasks: r^2 on log axes, and its robustness.

OpenAI's "How AI Training Scales" says that the noise scale explains r^2 = 80 % of the variation in critical batch
sizes that span six decades (McCandlish et al. 2018, arXiv:1812.06162, figure 4). Two numbers answer different
questions:

- of the fitted line ln B_crit = c + d ln B_simple, the squared correlation: how well sizes are ordered;
- of B_crit = B_simple with nothing fitted, 1 - sum (ln B_crit - ln B_simple)^2 / sum (ln B_crit - mean)^2: how well the
  number itself predicts. It is negative where the mean of all tasks would predict better.

With few tasks one far point can dominate r^2: so the value without each task is given too, and the line's r^2 for tasks
that it was not fitted to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIN_TASKS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Predicted against measured critical batch, in ln; NaN where too few tasks vary."""

    tasks: int
    slope: float
    """d of the fitted line."""
    factor: float
    """e^c: measured critical batch at a predicted one of 1."""
    r_squared: float
    """Of the fitted line."""
    r_squared_low: float
    """Bootstrap over tasks, percentiles."""
    r_squared_high: float
    r_squared_unfitted: float
    """Of B_crit = B_simple; may be negative."""
    r_squared_unfitted_low: float
    r_squared_unfitted_high: float
    leave_one_out: tuple[float, ...]
    """r^2 of the fitted line without each task, in the order given."""
    predictive_r_squared: float
    """r^2 for each task from the line through the others; may be negative."""
    geometric_mean_ratio: float
    """Predicted / measured, geometric mean."""
    rms_factor: float
    """exp of the root mean square of ln(predicted / measured): the typical error, as a factor."""

    @property
    def leave_one_out_lowest(self) -> float:
        """Lowest of `leave_one_out`: r^2 of the fitted line without the task that supports it most."""
        return min(self.leave_one_out)


def agreement(
    predicted: Sequence[float],
    measured: Sequence[float],
    *,
    level: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Agreement:
    """Compares predicted with measured critical batches of several tasks.

    Args:
        predicted: [tasks], noise scales, positive.
        measured: [tasks], critical batches, positive.
        level: of the intervals.
        resamples: draws of the bootstrap over tasks.
        seed: of the draws.

    Raises:
        ValueError: different lengths, fewer than 3 tasks, or a value that is not positive and finite.
    """
    x, y = _logs(predicted), _logs(measured)
    if len(x) != len(y) or len(x) < MIN_TASKS:
        raise ValueError(f"need at least {MIN_TASKS} tasks, each predicted and measured; got {len(x)} and {len(y)}")
    slope, intercept = _line(x, y)
    draws = np.random.default_rng(seed).integers(len(x), size=(resamples, len(x)))
    fitted = _percentiles(_squared_correlation(x[draws], y[draws]), level)
    unfitted = _percentiles(_unfitted(x[draws], y[draws]), level)
    others = [np.arange(len(x)) != task for task in range(len(x))]
    predictions = [np.polynomial.polynomial.polyval(x[~rest], _line(x[rest], y[rest])[::-1])[0] for rest in others]
    spread = float(np.sum((y - y.mean()) ** 2))
    return Agreement(
        tasks=len(x),
        slope=slope,
        factor=math.exp(intercept),
        r_squared=float(_squared_correlation(x, y)),
        r_squared_low=fitted[0],
        r_squared_high=fitted[1],
        r_squared_unfitted=float(_unfitted(x, y)),
        r_squared_unfitted_low=unfitted[0],
        r_squared_unfitted_high=unfitted[1],
        leave_one_out=tuple(float(_squared_correlation(x[rest], y[rest])) for rest in others),
        predictive_r_squared=1 - float(np.sum((y - np.array(predictions)) ** 2)) / spread if spread > 0 else math.nan,
        geometric_mean_ratio=math.exp(float(np.mean(x - y))),
        rms_factor=math.exp(math.sqrt(float(np.mean((x - y) ** 2)))),
    )


def _logs(values: Sequence[float]) -> Array:
    array = np.asarray(values, dtype=np.float64)
    wrong = ~(np.isfinite(array) & (array > 0))
    if np.any(wrong):
        raise ValueError(f"sizes must be positive and finite, got {array[wrong][0]}")
    return np.log(array)


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Slope and intercept of least squares; slope 0 where all x are equal."""
    spread = float(np.sum((x - x.mean()) ** 2))
    slope = float(np.sum((x - x.mean()) * (y - y.mean()))) / spread if spread > 0 else 0.0
    return slope, float(y.mean()) - slope * float(x.mean())


def _percentiles(draws: Array, level: float) -> tuple[float, float]:
    """Ends of the middle `level` of the draws that are defined; NaN where none is."""
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return math.nan, math.nan
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def _squared_correlation(x: Array, y: Array) -> Array:
    """Over the last axis; NaN where either does not vary."""
    x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        squared: Array = np.sum(x * y, axis=-1) ** 2 / (np.sum(x**2, axis=-1) * np.sum(y**2, axis=-1))
    return squared


def _unfitted(x: Array, y: Array) -> Array:
    """1 - misses / spread over the last axis; NaN where y does not vary."""
    spread = np.sum((y - y.mean(axis=-1, keepdims=True)) ** 2, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share: Array = 1 - np.sum((y - x) ** 2, axis=-1) / np.where(spread > 0, spread, np.nan)
    return share
