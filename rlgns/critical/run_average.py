r"""The average noise scale along a run, from its raw moments: what the paper compares with a sweep's critical batch.

A step at batch B where the noise scale is N makes 1 / (1 + N/B) of a full-batch step's progress. So each optimizer step
weighs w = 1 / (1 + N/B) (McCandlish et al. 2018, arXiv:1812.06162, appendix D):

    S_min = sum w,   E_min = sum w N,   average = E_min / S_min

With N = T/G, trace over squared gradient, and |g_B|^2 = G + T/B, the mean squared norm of the batch's gradient,

    w = G / |g_B|^2,   w N = T / |g_B|^2,   average = (sum T / |g_B|^2) / (sum G / |g_B|^2)

a ratio of sums of *raw* moments. Every measured step enters, whether or not its own noise scale could be told: leaving
out the steps whose smoothed noise scale is not resolved leaves out the large ones. |g_B|^2 is that of the rows before,
since a batch's own size would bias the ratio (`rlgns.noise.GradientSize`). The interval is Fieller's.

**Jumps.** A row whose gradients are far larger than any before, as after a first step of Adam at a high learning rate,
only sets the size: compared with the rows before, it would outweigh the run (`rlgns.noise.gradient_size.Jumps`). If it
was an outlier and rows of its size come again, few environments with large gradients are the noise: it counts in full.
Where such rows are steps at which the network itself was off, they outweigh the run all the same, and the average is
several times too small (docs/notes/outliers.md). One row's moments cannot tell the two apart; over a run the share of
|G|^2 of such rows does, which is large for the latter alone. So it is given, and above MANY_OUTLIERS no upper end is.

**Learning rate.** A noise scale is that of its learning rate: an annealed one inflates it ("temperature", appendix C).
Steps whose learning rate is below TUNED_SHARE of the run's highest are left out, so that the average speaks of the rate
as tuned (docs/results/temperature.md, "Under an annealed learning rate"; `rlgns.critical.tuned_rate`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from scipy.special import stdtrit

from rlgns.critical.tuned_rate import TunedRate
from rlgns.noise.block_sums import BlockSums
from rlgns.noise.gradient_size import BEYOND_OUTLIERS, MANY_OUTLIERS, OUTLIER, Jumps
from rlgns.noise.interval import UNKNOWN, fieller
from rlgns.noise.long_run_variance import mean_covariance

SIZE_ROWS = 8
"""Rows over which the squared size of the gradients is averaged."""

MOST_MISSING = 20.0
"""A signal that more than so many times the steps would resolve is not distinguishable from none: no forecast."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AverageEstimate:
    """The average so far, in observations; NaN where not known."""

    value: float
    """NaN until |G|^2 is positive."""
    low: float
    """NaN where nothing is known."""
    high: float
    """Infinite where only the lower bound is known, as where `outlier_share` is above MANY_OUTLIERS."""
    resolved: bool
    """Whether |G|^2 is distinguishable from 0."""
    share: float
    """Share of all optimizer steps that count; NaN before the first."""
    learning_rate: float
    """Mean over the steps that count; NaN where it was not given."""
    outlier_share: float
    """Share of the sum of |G|^2 that outliers have, may be above 1 or negative; NaN until that sum is positive, and
    where an older version saved the sums."""
    tuned: bool
    """Whether the newest steps' learning rate lets them count."""
    missing: float
    """Steps that still have to be measured until |G|^2 is typically distinguishable from 0, relative to those that
    count so far; 0 where it is, NaN where that cannot be forecast."""


@final
class RunAverage:
    """Sums of one run."""

    def __init__(self, *, rate_follows_batch: bool = True) -> None:
        """Starts empty. `rate_follows_batch`: as in `TunedRate`; in other trainers it does not."""
        self._rate, self._tuned = TunedRate(follows_batch=rate_follows_batch), True
        self._sums = BlockSums(None)
        self._means: tuple[Any, Any] | None = None  # |G|^2 and trace over the rows before
        self._rows = 0
        self._steps = self._counted = self._rates = 0.0  # all steps, those that count, and their rates
        self._outliers: Any = 0.0  # sum of their |G|^2, relative to the size before
        self._jumps = Jumps(2 * SIZE_ROWS)  # an arithmetic mean forgets an outlier late
        self._aside: dict[str, Any] | None = None  # the newest row that began a phase, if none as large came since

    def update(self, *, grad_sq: Any, trace: Any, batch: float, steps: float, learning_rate: float | None) -> None:
        """Adds `steps` optimizer steps at one batch and learning rate. The first only set the gradients' size.

        Args:
            grad_sq: Mean |G|^2 of the steps, as measured, may be negative; None or NaN: not measured. Simulations may
                give an array, [runs].
            trace: Mean tr(Sigma) per observation, likewise.
            batch: Observations per optimizer step.
            steps: Optimizer steps.
            learning_rate: Of these steps; None: not known, so they count.

        Raises:
            ValueError: A batch that is not positive or negative steps.
        """
        if not (batch > 0 and steps >= 0):
            raise ValueError(f"need batch > 0 and steps >= 0; got {batch} and {steps}")
        self._steps += steps
        self._tuned = self._rate.update(learning_rate, batch)
        if not self._tuned or steps == 0:
            return
        if grad_sq is None or trace is None or not np.all(np.isfinite([grad_sq, trace])):
            return
        means = self._means
        size = 0.0 if means is None else means[0] + means[1] / batch  # of the rows before, at this row's batch
        if means is None or np.any(size <= 0):
            self._means, self._rows = (grad_sq, trace), 1
            return
        sizes = np.stack(np.broadcast_arrays(grad_sq + trace / batch, size)).reshape(2, -1)
        new, before = sizes[:, np.argmax(sizes[0] / sizes[1])].tolist()  # of the run where this row is largest
        row = {"moments": np.array([grad_sq, trace]) / size, "steps": steps, "learning_rate": learning_rate}
        row["outlier"] = bool(new > OUTLIER * before)
        if self._jumps.begins_phase(new, before):
            self._aside = {**row, "ratio": new / before}
            self._means, self._rows = (grad_sq, trace), 1
            return
        self._rows = min(self._rows + 1, SIZE_ROWS)
        self._means = means[0] + (grad_sq - means[0]) / self._rows, means[1] + (trace - means[1]) / self._rows
        if self._aside is not None and new * BEYOND_OUTLIERS >= before * self._aside["ratio"]:
            self._add(self._aside)
            self._aside = None
        self._add(row)

    def _add(self, row: Mapping[str, Any]) -> None:
        self._sums.update(np.asarray(row["moments"]), row["steps"])
        self._counted += row["steps"]
        if row["outlier"]:
            self._outliers = self._outliers + row["steps"] * np.asarray(row["moments"])[0]
        self._rates += row["steps"] * (math.nan if row["learning_rate"] is None else row["learning_rate"])

    def update_row(self, row: Mapping[str, Any], steps: float) -> None:
        """Adds a row of metrics.jsonl, of so many optimizer steps."""
        self.update(
            grad_sq=row.get("noise/grad_sq"),
            trace=row.get("noise/trace"),
            batch=row["batch_observations"],
            steps=steps,
            learning_rate=row.get("learning_rate"),
        )

    def estimate(self, level: float = 0.95) -> AverageEstimate:
        """Returns the average so far with its interval at `level`."""
        share = self._counted / self._steps if self._steps else math.nan
        rate = self._rates / self._counted if self._counted else math.nan
        mean, interval = self._sums.mean(), UNKNOWN
        grad_sq = trace = missing = math.nan
        if mean is not None:
            grad_sq, trace = float(mean[0]), float(mean[1])
            steps, weights, means = self._sums.blocks()
            covariance = mean_covariance(steps, weights, means[:, ::-1])  # of trace and |G|^2
            interval = fieller(trace, grad_sq, covariance.matrix, covariance.degrees_of_freedom, level)
            missing = _missing(grad_sq, covariance.matrix[1, 1], covariance.degrees_of_freedom, level)
        outlier_share = float(self._outliers) / (grad_sq * self._counted) if grad_sq > 0 else math.nan
        return AverageEstimate(
            value=trace / grad_sq if grad_sq > 0 else math.nan,
            low=interval.low,
            high=math.inf if outlier_share > MANY_OUTLIERS else interval.high,
            resolved=interval.resolved,
            share=share,
            learning_rate=rate,
            outlier_share=outlier_share,
            tuned=self._tuned,
            missing=missing,
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns all sums, as plain Python numbers and lists."""
        return {
            "sums": self._sums.state_dict(),
            "means": None if self._means is None else [float(mean) for mean in self._means],
            "rows": self._rows,
            "steps": self._steps,
            "counted": self._counted,
            "rates": self._rates,
            "highest": self._rate.highest,
            "tuned": self._tuned,
            "outliers": float(self._outliers),
            "aside": None if self._aside is None else {**self._aside, "moments": self._aside["moments"].tolist()},
            **self._jumps.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._sums.load_state_dict(state["sums"])
        means = state["means"]
        self._means = None if means is None else (float(means[0]), float(means[1]))
        self._rows, self._rate.highest = int(state["rows"]), float(state["highest"])
        self._tuned, self._outliers = bool(state.get("tuned", True)), float(state.get("outliers", math.nan))
        aside = state.get("aside")
        self._aside = None if aside is None else {"outlier": True, **aside, "moments": np.array(aside["moments"])}
        self._jumps.load_state_dict(state)
        self._steps, self._counted = float(state["steps"]), float(state["counted"])
        self._rates = float(state["rates"])


def _missing(grad_sq: float, variance: float, degrees_of_freedom: int, level: float) -> float:
    """Steps that are missing relative to those measured: the variance falls as they grow, the mean stays."""
    if degrees_of_freedom <= 0 or grad_sq <= 0:
        return math.nan
    needed = float(stdtrit(degrees_of_freedom, 0.5 + level / 2)) ** 2 * variance / grad_sq**2
    return math.nan if needed > MOST_MISSING else max(0.0, needed - 1)
