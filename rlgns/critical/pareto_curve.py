r"""The sum of squares of a Pareto fit as a curve over ln B_crit, and the confidence set that follows from it.

With h(b) = ln(1 + e^b / B) and a = ln S_min, the runs have the sum of squares R(a, b) = sum (ln S - a - h(b))^2. At a
given b the best a is the mean of ln S - h(b), which leaves a curve R(b). With n runs and R its lowest value,

    F(b) = (R(b) - R) / (R / (n - 2))

follows F(1, n - 2) at the true b if the law is nearly a straight line over the uncertain range of b, and the scatter of
ln S is normal and the same everywhere (Bates and Watts 1988, "Nonlinear Regression Analysis and Its Applications",
chapter 6). The set {b : F(b) <= q} is not symmetric, needs no standard error, and reaches 0 or infinity where it
should: at b -> -infinity the law is a constant, at b -> infinity a line of slope -1, and both have a finite R. The
intervals for S_min and E_min = S_min B_crit are the shadows of {(a, b) : F(a, b) <= q} on a and on a + b, with the
same q.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import fdtri

Array = NDArray[np.float64]

BEYOND = 10.0
"""Range of the curve beyond the batches, in ln B: at its ends the law is a constant or a line to 5e-5."""

STEP = 0.1
"""Spacing of the values of ln B_crit that are tried first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """Confidence sets; 0 and infinity where an end is not known."""

    critical_low: float
    critical_high: float
    min_steps_low: float
    min_steps_high: float
    min_observations_low: float
    min_observations_high: float


@final
class Curve:
    """The sum of squares R(b) of some runs, and its lowest point."""

    def __init__(self, log_batch: Array, log_steps: Array) -> None:
        """Finds the lowest point.

        Args:
            log_batch: [runs], ln B, at least two different.
            log_steps: [runs], ln S.
        """
        self.log_batch, self.log_steps = log_batch, log_steps
        self.count = len(log_batch)
        self.sizes = len(np.unique(log_batch))
        self.tried = np.arange(log_batch.min() - BEYOND, log_batch.max() + BEYOND, STEP)
        self.values = self._squares(self.tried)
        lowest = int(self.values.argmin())
        self.interior = 0 < lowest < len(self.tried) - 1
        """Whether least squares has an answer between 0 and infinity."""
        self.log_critical = float(self.tried[lowest])
        if self.interior:
            self.log_critical = self._lowest_around(self.log_critical)
        self.least = self._at(self.log_critical)
        """R, the least sum of squares."""
        self.log_min_steps = float(self._best_log_min_steps(np.array([self.log_critical]))[0])

    def predict(self, log_batch: Array) -> Array:
        """Returns ln S of the fit at these ln B."""
        return self.log_min_steps + np.logaddexp(0.0, self.log_critical - log_batch)

    def deletion_residuals(self) -> Array:
        """Returns, per run, about how far ln S lies above the fit to the other runs; infinite where unknown.

        It is the residual over 1 - leverage, exact for a law linear in ln B_crit.
        """
        if not self.interior:
            return np.full(self.count, np.inf)
        slope = 1 / (1 + np.exp(self.log_batch - self.log_critical))
        basis, _ = np.linalg.qr(np.column_stack([np.ones(self.count), slope]))
        room = np.maximum(1 - np.sum(basis**2, axis=1), 1e-9)
        residuals: Array = (self.log_steps - self.predict(self.log_batch)) / room
        return residuals

    def region(self, quantile: float) -> Region:
        """Returns the set of values with F no larger than `quantile`."""
        # One part in 1e9 more, so that rounding leaves runs without any scatter an interval of their one point.
        bound = self.least * (1 + quantile / (self.count - 2)) * (1 + 1e-9) + 1e-18
        low, high = self._end(bound, upwards=False), self._end(bound, upwards=True)
        inside = np.linspace(max(low, self.tried[0]), min(high, self.tried[-1]), 400)
        slack = np.sqrt(np.maximum(bound - self._squares(inside), 0.0) / self.count)
        steps = self._best_log_min_steps(inside)
        observations = steps + inside
        with np.errstate(over="ignore"):  # a few runs with much scatter have an end at infinity: it is not known
            return Region(
                critical_low=math.exp(low),
                critical_high=math.exp(high),
                min_steps_low=0.0 if math.isinf(high) else float(np.exp(np.min(steps - slack))),
                min_steps_high=float(np.exp(np.max(steps + slack))),
                min_observations_low=0.0 if math.isinf(low) else float(np.exp(np.min(observations - slack))),
                min_observations_high=float(np.exp(np.max(observations + slack))),
            )

    def _end(self, bound: float, *, upwards: bool) -> float:
        """The ln B_crit farthest from the lowest point, one way, whose R is within `bound`; infinite if all are."""
        order = slice(None, None, -1) if upwards else slice(None)
        tried, values = self.tried[order], self.values[order]
        if values[0] <= bound:
            return math.inf if upwards else -math.inf
        beyond = tried > self.log_critical if upwards else tried < self.log_critical
        accepted = np.flatnonzero(beyond & (values <= bound))
        first = int(accepted[0]) if len(accepted) else int(beyond.sum())
        inner = float(tried[first]) if len(accepted) else self.log_critical
        return float(brentq(lambda b: self._at(b) - bound, tried[first - 1], inner, xtol=1e-10))

    def _lowest_around(self, log_critical: float) -> float:
        """Zooms in on the lowest point six times by a factor of 20, at 41 values each, to 2e-9 in ln B_crit."""
        half = STEP
        for _ in range(6):
            near = log_critical + np.linspace(-half, half, 41)
            log_critical = float(near[self._squares(near).argmin()])
            half /= 20
        return log_critical

    def _at(self, log_critical: float) -> float:
        return float(self._squares(np.array([log_critical]))[0])

    def _squares(self, log_critical: Array) -> Array:
        rest = self.log_steps - np.logaddexp(0.0, log_critical[:, None] - self.log_batch)
        rest -= rest.mean(axis=1, keepdims=True)
        return np.sum(rest**2, axis=1)

    def _best_log_min_steps(self, log_critical: Array) -> Array:
        return np.mean(self.log_steps - np.logaddexp(0.0, log_critical[:, None] - self.log_batch), axis=1)


def f_quantile(count: int, level: float) -> float:
    """Returns the quantile of F(1, count - 2); infinite without degrees of freedom."""
    return float(fdtri(1, count - 2, level)) if count > 2 else math.inf


def bootstrap_quantile(curve: Curve, level: float, resamples: int, seed: int) -> float:
    r"""Returns the quantile of F at the fitted B_crit over sweeps redrawn from the residuals.

    An error that all runs of one batch size share (the law's misfit there, the grid of learning rates) does not average
    out over seeds. A redrawn sweep is the fit, plus one redrawn misfit per batch size, plus one redrawn deviation per
    run. The deviations have the variance within batch sizes; the misfits have the excess of the variance of the sizes'
    means over it, zero if there is none.

    Args:
        curve: fitted runs, some batch sizes with several.
        level: of the quantile.
        resamples: draws.
        seed: of the draws.
    """
    _, place, runs = np.unique(curve.log_batch, return_inverse=True, return_counts=True)
    residuals = curve.log_steps - curve.predict(curve.log_batch)
    means = np.bincount(place, residuals) / runs
    deviations = (residuals - means[place])[runs[place] > 1]
    deviations /= np.sqrt(1 - 1 / runs[place][runs[place] > 1])
    within = float(np.sum((residuals - means[place]) ** 2)) / (curve.count - curve.sizes)
    between = float(np.sum(runs * means**2)) / (curve.sizes - 2)
    common = (curve.count - np.sum(runs**2) / curve.count) / (curve.sizes - 1)
    misfit = max(0.0, (between - within) / common)
    if misfit == 0:
        within = curve.least / (curve.count - 2)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(_standard(deviations), (resamples, curve.count)) * math.sqrt(within)
    drawn += (rng.choice(_standard(means), (resamples, curve.sizes)) * math.sqrt(misfit))[:, place]
    return float(np.quantile(_f_at_truth(curve, drawn), level))


def _standard(values: Array) -> Array:
    """The values with mean 0 and variance 1; as they are where all are equal."""
    values = values - values.mean()
    size = math.sqrt(float(np.mean(values**2)))
    return values / size if size > 0 else values


def _f_at_truth(curve: Curve, noise: Array) -> Array:
    """F at the fitted B_crit of sweeps that are the fit plus noise [resamples, runs]."""
    steps = curve.predict(curve.log_batch) + noise
    steps -= steps.mean(axis=1, keepdims=True)
    law = np.logaddexp(0.0, curve.tried[:, None] - curve.log_batch)
    law -= law.mean(axis=1, keepdims=True)
    values = np.sum(steps**2, axis=1)[:, None] - 2 * steps @ law.T + np.sum(law**2, axis=1)
    rows = np.arange(len(values))
    lowest = np.clip(values.argmin(axis=1), 1, values.shape[1] - 2)
    left, middle, right = (values[rows, lowest + offset] for offset in (-1, 0, 1))
    bend = np.maximum(left - 2 * middle + right, 1e-300)
    least = np.minimum(
        middle - np.minimum((left - right) ** 2 / (8 * bend), np.maximum(middle, 0.0)), values.min(axis=1)
    )
    rest = noise - noise.mean(axis=1, keepdims=True)
    truth = np.sum(rest**2, axis=1)
    # Runs exactly on the law leave no noise to redraw: F is then 0, not 0/0.
    least = np.maximum(np.minimum(least, truth), 1e-300)
    return np.maximum(truth - least, 0.0) / (least / (curve.count - 2))
