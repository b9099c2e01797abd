"""The noise scale over time: both moments decay alike; the ratio and its interval are formed on read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from rlgns.noise.block_sums import BlockSums
from rlgns.noise.interval import ratio_interval
from rlgns.noise.ladder import Rung
from rlgns.noise.moments import Moments


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseScaleEstimate:
    """The noise scale as known so far."""

    noise_scale: float
    """trace / grad_sq in observations; NaN until grad_sq is positive."""

    low: float
    """Lower end of the interval, never negative; NaN until there are 4 blocks of measurements."""

    high: float
    """Upper end; infinite where only the lower bound is known."""

    resolved: bool
    """Whether |G|^2 differs from zero at this level; where not, only "at least `low`" is known."""

    level: float
    """Confidence of the interval."""

    grad_sq: float
    """Weighted mean of the measured |G|^2, never clamped; NaN before the first measurement."""

    trace: float
    """Weighted mean of the measured tr(Sigma) per observation; NaN before the first measurement."""

    updates: int
    """Measurements counted."""

    skipped: int
    """Measurements left out because a gradient was not finite."""

    observations: float
    """Decayed observations behind the means."""

    ladder: tuple[Rung, ...]
    """Weighted mean squared gradient norm by batch size, smallest first."""


@final
class NoiseScaleTracker:
    """Running estimate of B_simple = tr(Sigma) / |G|^2 (McCandlish et al. 2018, arXiv:1812.06162, equation 2.9).

    Both moments are summed with weights n exp(-age / H): n the observations of a measurement, age the observations
    since, H the horizon. If the true moments change over time, the estimate is the ratio of their averages with these
    weights.
    """

    def __init__(self, horizon_observations: float | None = None, level: float = 0.95) -> None:
        """Starts empty.

        Args:
            horizon_observations: observations after which a weight has fallen to 1/e; None: plain sums over everything.
            level: default confidence of the interval.

        Raises:
            ValueError: a horizon that is not positive, a level outside (0, 1).
        """
        self._level = _checked(level)
        self._sums = BlockSums(horizon_observations)
        self._ladder: dict[int, tuple[float, float]] = {}
        self._updates = 0
        self._skipped = 0

    def update(self, moments: Moments) -> None:
        """Adds the moments of one batch; counts and skips those of a gradient that was not finite."""
        if not moments.is_finite:
            self._skipped += 1
            return
        self._updates += 1
        self._sums.update(np.array([moments.grad_sq, moments.trace]), moments.observations)
        horizon = self._sums.horizon
        decay = 1.0 if horizon is None else math.exp(-moments.observations / horizon)
        self._ladder = {size: (weight * decay, total * decay) for size, (weight, total) in self._ladder.items()}
        for rung in moments.ladder:
            weight, total = self._ladder.get(rung.batch_observations, (0.0, 0.0))
            added = total + moments.observations * rung.grad_sq_norm
            self._ladder[rung.batch_observations] = (weight + moments.observations, added)

    def estimate(self, level: float | None = None) -> NoiseScaleEstimate:
        """Returns the noise scale as of now, with an interval at `level` (None: the tracker's).

        Raises:
            ValueError: a level outside (0, 1).
        """
        level = self._level if level is None else _checked(level)
        mean = self._sums.mean()
        grad_sq, trace = (math.nan, math.nan) if mean is None else (float(mean[0]), float(mean[1]))
        low, high, resolved = math.nan, math.inf, False
        if mean is not None:
            observations, weights, means = self._sums.blocks()
            interval = ratio_interval(
                observations,
                weights,
                numerators=means[:, 1],
                denominators=means[:, 0],
                numerator=trace,
                denominator=grad_sq,
                level=level,
            )
            low, high, resolved = interval.low, interval.high, interval.resolved
        return NoiseScaleEstimate(
            noise_scale=trace / grad_sq if grad_sq > 0 else math.nan,
            low=low,
            high=high,
            resolved=resolved,
            level=level,
            grad_sq=grad_sq,
            trace=trace,
            updates=self._updates,
            skipped=self._skipped,
            observations=self._sums.weight,
            ladder=tuple(
                Rung(batch_observations=size, grad_sq_norm=total / weight)
                for size, (weight, total) in sorted(self._ladder.items())
                if weight > 0
            ),
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns everything measured, as plain Python numbers and lists that survive JSON exactly."""
        return {
            "sums": self._sums.state_dict(),
            "ladder": [[size, weight, total] for size, (weight, total) in self._ladder.items()],
            "updates": self._updates,
            "skipped": self._skipped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned; horizon and level stay those given at construction."""
        self._sums.load_state_dict(state["sums"])
        self._ladder = {int(size): (float(weight), float(total)) for size, weight, total in state["ladder"]}
        self._updates = int(state["updates"])
        self._skipped = int(state["skipped"])


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return level
