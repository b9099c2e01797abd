r"""The trade-off between optimizer steps and observations, fitted to a sweep over batch sizes, for one score goal.

    ln S = ln S_min + ln(1 + B_crit / B)          S optimizer steps to the goal at batch B, in observations

McCandlish et al. 2018, "An Empirical Model of Large-Batch Training", arXiv:1812.06162, equations 2.11 and 2.12, fitted
by plain least squares in log space as there (page 18). S_min is eliminated: at a given B_crit it is a mean, so that
the sum of squares is a curve over ln B_crit, and the fit is that curve's lowest point.

**Failed runs.** A robust loss (Huber) would change the fit of clean sweeps too, since every run counts less the further
it is off. A failed run is a different thing: one run that took several times as long. Such runs are left out whole, one
at a time, if

- the run took more than OUTLIER_FACTOR times the steps that the other runs predict, and
- that is improbable: its deletion residual has a p-value (Student's t, times the number of runs) below OUTLIER_P.

Only slow runs are left out; without any, the fit is exactly plain least squares. Runs that never reached the goal (NaN
or infinite steps) are left out from the start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from rlgns.critical.pareto_curve import Curve, Region, bootstrap_quantile, f_quantile
from rlgns.formatting import interval, measured

Array = NDArray[np.float64]

MIN_BATCH_SIZES = 3
"""Fewest batch sizes that can show a bend: a law with two parameters goes through any two points."""

OUTLIER_FACTOR = 2.0
OUTLIER_P = 0.01
MIN_RUNS_FOR_OUTLIERS = 5
"""With fewer runs it is not clear which of them failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParetoFit:
    """A fitted trade-off and how well it is known. Batches are in observations, steps are optimizer steps.

    The intervals hold at `level` each. Where `identified` is false only the bounds may be quoted: low is 0 or high is
    infinite, and the other end still holds.
    """

    critical_batch: float
    """B_crit, the least-squares value, also where not identified; NaN where least squares has none (0 or infinity)."""
    critical_batch_low: float
    critical_batch_high: float
    min_steps: float
    """S_min; NaN as above."""
    min_steps_low: float
    min_steps_high: float
    min_observations: float
    """E_min = S_min B_crit; NaN as above."""
    min_observations_low: float
    min_observations_high: float
    identified: bool
    """Whether the batches bracket the bend: both ends of the interval known, the best value among the batches."""
    reason: str
    """Why not identified, in words; empty where identified."""
    level: float
    residuals: tuple[float, ...]
    """ln S less the fit, in the order of the runs given; NaN for those that never reached the goal."""
    rms: float
    """Root mean square of the residuals of the runs used; NaN without a fit."""
    r_squared: float
    """Share of the variance of ln S, over the runs used, that the fit explains; NaN without a fit."""
    points_used: int
    """Runs that the fit rests on."""
    batch_sizes: int
    """Different batch sizes among them."""
    failed: tuple[int, ...]
    """Indices of the runs that never reached the goal."""
    outliers: tuple[int, ...]
    """Indices of the runs left out because they took several times as long as the others predict."""

    def __str__(self) -> str:
        low, high = self.critical_batch_low, self.critical_batch_high
        if self.identified:
            return measured("critical batch", self.critical_batch, low, high, self.level)
        bounded = low > 0 or math.isfinite(high)
        return f"critical batch {interval(None, low, high) + '; ' if bounded else ''}{self.reason}"

    def steps(self, batch: float) -> float:
        """Returns S = S_min (1 + B_crit / B), optimizer steps at `batch`; NaN without a fit."""
        return self.min_steps * (1 + self.critical_batch / batch)

    def observations(self, batch: float) -> float:
        """Returns E = E_min (1 + B / B_crit), observations at `batch`; NaN without a fit."""
        return self.min_observations * (1 + batch / self.critical_batch)


def fit_pareto(
    batch_observations: ArrayLike,
    optimizer_steps: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> ParetoFit:
    """Fits the trade-off to the runs of one game and one goal, each with its best learning rate.

    The interval holds every B_crit whose sum of squares is not too far above the least: a likelihood profile with
    unknown scatter. The bound is F's quantile at 1 and n - 2 degrees of freedom if every batch size has one run. If
    some have several (seeds), it comes from resampling batch sizes and runs (`bootstrap_quantile`).

    Args:
        batch_observations: [runs], observations per optimizer step, positive. A size given twice is two seeds.
        optimizer_steps: [runs], steps to the goal; NaN or infinite where a run never reached it.
        level: confidence of each interval, between 0 and 1.
        resamples: draws of the bootstrap.
        seed: of the bootstrap: the same runs always give the same interval.

    Raises:
        ValueError: arrays of different or no length, batches or steps that are not positive, a level outside (0, 1).
    """
    batch, steps = _checked(batch_observations, optimizer_steps)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    reached = np.isfinite(steps)
    failed = tuple(np.flatnonzero(~reached).tolist())
    sizes = len(np.unique(batch[reached]))
    if sizes < MIN_BATCH_SIZES:
        reason = f"not identified: {_sizes(sizes)} reached the goal, at least {MIN_BATCH_SIZES} are needed"
        return _unknown(level, failed, len(batch), int(reached.sum()), sizes, reason)
    log_batch, log_steps = np.log(batch), np.log(np.where(reached, steps, 1.0))
    used = _without_outliers(log_batch, log_steps, reached)
    curve = Curve(log_batch[used], log_steps[used])
    quantile = f_quantile(curve.count, level)
    # runs exactly on the law leave only rounding to redraw
    if curve.count > curve.sizes and curve.interior and curve.least > 1e-18:
        quantile = bootstrap_quantile(curve, level, resamples, seed)
    region = curve.region(quantile)
    low, high, reason = _bracket(curve, region, batch[used])
    fit = np.exp([curve.log_critical, curve.log_min_steps, curve.log_critical + curve.log_min_steps])
    critical, min_steps, min_observations = (float(x) if curve.interior else math.nan for x in fit)
    residuals = log_steps - curve.predict(log_batch)
    residuals[~reached] = np.nan
    total = float(np.sum((curve.log_steps - curve.log_steps.mean()) ** 2))
    return ParetoFit(
        critical_batch=critical,
        critical_batch_low=low,
        critical_batch_high=high,
        min_steps=min_steps,
        min_steps_low=0.0 if math.isinf(high) else region.min_steps_low,
        min_steps_high=region.min_steps_high,
        min_observations=min_observations,
        min_observations_low=0.0 if low == 0 else region.min_observations_low,
        min_observations_high=region.min_observations_high,
        identified=not reason,
        reason=reason,
        level=level,
        residuals=tuple(residuals.tolist()),
        rms=math.sqrt(curve.least / curve.count),
        r_squared=1 - curve.least / total if total > 0 else math.nan,
        points_used=curve.count,
        batch_sizes=curve.sizes,
        failed=failed,
        outliers=tuple(np.flatnonzero(reached & ~used).tolist()),
    )


def _bracket(curve: Curve, region: Region, batch: Array) -> tuple[float, float, str]:
    """Ends of the interval and why it is not identified: beyond the batches tried nothing was measured."""
    low, high = region.critical_low, region.critical_high
    smallest, largest = float(batch.min()), float(batch.max())
    best = math.exp(curve.log_critical)
    below = math.isinf(high) or best > largest
    above = low == 0 or best < smallest
    if low == 0 and math.isinf(high):
        return low, high, f"not identified: {curve.count} runs at {_sizes(curve.sizes)} do not show the bend"
    if below and best >= smallest:
        return low, math.inf, f"not identified: the largest batch is below the bend or too near it ({largest:,.0f})"
    if above:
        return 0.0, high, f"not identified: the smallest batch is above the bend or too near it ({smallest:,.0f})"
    return low, high, ""


def _without_outliers(log_batch: Array, log_steps: Array, reached: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which runs to fit: those that reached the goal, without those far slower than the rest predict."""
    used = reached.copy()
    for _ in range(int(reached.sum()) // MIN_RUNS_FOR_OUTLIERS):
        runs = np.flatnonzero(used)
        degrees = len(runs) - 3
        whole = Curve(log_batch[used], log_steps[used])
        suspects = runs[whole.deletion_residuals() > math.log(OUTLIER_FACTOR) / 2]
        worst, smallest = None, OUTLIER_P
        for run in suspects:
            others = used.copy()
            others[run] = False
            if len(np.unique(log_batch[others])) < MIN_BATCH_SIZES:
                continue
            curve = Curve(log_batch[others], log_steps[others])
            excess = log_steps[run] - curve.predict(log_batch[run : run + 1])[0]
            if excess <= math.log(OUTLIER_FACTOR):
                continue
            scatter = max(curve.least / degrees, np.finfo(np.float64).tiny)
            p = len(runs) * stdtr(degrees, -math.sqrt(max(whole.least - curve.least, 0.0) / scatter))
            if p < smallest:
                worst, smallest = run, p
        if worst is None:
            break
        used[worst] = False
    return used


def _checked(batch_observations: ArrayLike, optimizer_steps: ArrayLike) -> tuple[Array, Array]:
    batch = np.asarray(batch_observations, dtype=np.float64)
    steps = np.asarray(optimizer_steps, dtype=np.float64)
    if batch.ndim != 1 or batch.shape != steps.shape or not len(batch):
        raise ValueError(
            f"need batch_observations and optimizer_steps of one length, got shapes {batch.shape} and {steps.shape}"
        )
    if not np.all((batch > 0) & np.isfinite(batch)):
        raise ValueError(
            f"batch_observations must be positive, got {_first(batch, ~((batch > 0) & np.isfinite(batch)))}"
        )
    if np.any(steps <= 0):
        raise ValueError(
            f"optimizer_steps must be positive, NaN or infinite where the goal was not reached; "
            f"got {_first(steps, steps <= 0)}"
        )
    return batch, steps


def _first(values: Array, wrong: NDArray[np.bool_]) -> float:
    return float(values[wrong][0])


def _sizes(count: int) -> str:
    return {0: "no batch size", 1: "one batch size"}.get(count, f"{count} batch sizes")


def _unknown(level: float, failed: Sequence[int], runs: int, used: int, sizes: int, reason: str) -> ParetoFit:
    nan, inf = math.nan, math.inf
    return ParetoFit(
        critical_batch=nan,
        critical_batch_low=0.0,
        critical_batch_high=inf,
        min_steps=nan,
        min_steps_low=0.0,
        min_steps_high=inf,
        min_observations=nan,
        min_observations_low=0.0,
        min_observations_high=inf,
        identified=False,
        reason=reason,
        level=level,
        residuals=(nan,) * runs,
        rms=nan,
        r_squared=nan,
        points_used=used,
        batch_sizes=sizes,
        failed=tuple(failed),
        outliers=(),
    )
