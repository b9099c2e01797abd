"""The noise scale over time: both moments decay alike; the ratio and its interval are formed on read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from rlgns.formatting import measured, plural
from rlgns.noise.block_sums import BlockSums
from rlgns.noise.gradient_size import MANY_OUTLIERS, OUTLIER
from rlgns.noise.horizon import Horizon, choose_horizon
from rlgns.noise.interval import UNKNOWN, RatioInterval, fieller
from rlgns.noise.ladder import Rung
from rlgns.noise.long_run_variance import mean_covariance
from rlgns.noise.moments import Moments


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseScaleEstimate:
    """The noise scale as known so far."""

    noise_scale: float
    """trace / grad_sq of the last `horizon_observations`, in observations; NaN until grad_sq is positive."""

    low: float
    """Lower end of its interval, never negative; NaN until there are 4 blocks of measurements."""

    high: float
    """Upper end; infinite where only the lower bound is known."""

    resolved: bool
    """Whether |G|^2 differs from zero at this level; where not, only "at least `low`" is known."""

    now_low: float
    """Lower end of the interval of the noise scale now: `low` less what drift over the horizon may have changed."""

    now_high: float
    """Its upper end; infinite where only the lower bound is known, as where `outlier_share` is above MANY_OUTLIERS."""

    outlier_share: float
    """Share of `grad_sq` that outliers have, batches whose squared gradient is more than 4 times the mean of those
    before; may be above 1 or negative, NaN until grad_sq is positive."""

    level: float
    """Confidence of the intervals."""

    horizon_observations: float
    """Observations after which a weight has fallen to 1/e; where all weigh alike, those measured."""

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

    def scaled(self, factor: float) -> NoiseScaleEstimate:
        """Returns the estimate of gradients that are sqrt(factor) times as large; the noise scale is the same."""
        return replace(
            self,
            grad_sq=self.grad_sq * factor,
            trace=self.trace * factor,
            ladder=tuple(replace(rung, grad_sq_norm=rung.grad_sq_norm * factor) for rung in self.ladder),
        )

    def __str__(self) -> str:
        text = measured("noise scale", self.noise_scale, self.now_low, self.now_high, self.level)
        if self.skipped:
            text += f", {plural(self.skipped, 'measurement')} left out: a gradient was not finite"
        return text


@final
class NoiseScaleTracker:
    """Running estimate of B_simple = tr(Sigma) / |G|^2 (McCandlish et al. 2018, arXiv:1812.06162, equation 2.9).

    Both moments are summed with weights n exp(-age / H): n the observations of a measurement, age the observations
    since, H the horizon. If the true moments change over time, the estimate is the ratio of their averages with these
    weights. A horizon that follows the run is chosen from the measurements so far, whenever a block of them is
    complete, and the interval of the noise scale now allows for drift (`rlgns.noise.horizon`). A fixed horizon takes
    the noise scale for constant.
    """

    def __init__(
        self, horizon_observations: float | None = None, level: float = 0.95, *, follows_run: bool = False
    ) -> None:
        """Starts empty.

        Args:
            horizon_observations: observations after which a weight has fallen to 1/e; None: plain sums over everything.
            level: default confidence of the interval.
            follows_run: whether the horizon is as short as the run asks; `horizon_observations` is the longest then.

        Raises:
            ValueError: a horizon that is not positive, a level outside (0, 1).
        """
        self._level = _checked(level)
        self._sums = BlockSums(horizon_observations)
        self._longest = math.inf if horizon_observations is None else float(horizon_observations)
        self._follows_run = follows_run
        self._updates = 0
        self._skipped = 0
        self.restart()

    def restart(self) -> None:
        """Forgets all measurements, but not how many there were."""
        self._sums.clear()
        self._measured = 0.0
        self._signal = self._outliers = 0.0  # decayed sums of |G|^2: over all batches, over outliers
        self._ladder: dict[int, tuple[float, float]] = {}
        self._horizon = Horizon(observations=self._longest, drift_variance=0.0)

    def update(self, moments: Moments) -> None:
        """Adds the moments of one batch; counts and skips those of a gradient that was not finite."""
        if not moments.is_finite:
            self._skipped += 1
            return
        self._updates += 1
        self._measured += moments.observations
        outlier = self._is_outlier(moments)
        began_block = self._sums.update(np.array([moments.grad_sq, moments.trace]), moments.observations)
        if began_block and self._follows_run:
            observations, _, means = self._sums.blocks()
            self._horizon = choose_horizon(observations, means, self._longest)
        decay = math.exp(-moments.observations / self._horizon.observations)
        signal = moments.observations * moments.grad_sq
        self._signal = self._signal * decay + signal
        self._outliers = self._outliers * decay + (signal if outlier else 0.0)
        self._ladder = {size: (weight * decay, total * decay) for size, (weight, total) in self._ladder.items()}
        for rung in moments.ladder:
            weight, total = self._ladder.get(rung.batch_observations, (0.0, 0.0))
            added = total + moments.observations * rung.grad_sq_norm
            self._ladder[rung.batch_observations] = (weight + moments.observations, added)

    def _is_outlier(self, moments: Moments) -> bool:
        mean = self._sums.mean()
        before, new = (
            (grad_sq + trace / moments.observations)
            for grad_sq, trace in ((0.0, 0.0) if mean is None else mean, (moments.grad_sq, moments.trace))
        )
        return bool(new > OUTLIER * before > 0)

    def estimate(self, level: float | None = None) -> NoiseScaleEstimate:
        """Returns the noise scale as of now, with an interval at `level` (None: the tracker's).

        Raises:
            ValueError: a level outside (0, 1).
        """
        level = self._level if level is None else _checked(level)
        mean, weight = self._sums.mean(), self._sums.weight
        grad_sq, trace = (math.nan, math.nan) if mean is None else (float(mean[0]), float(mean[1]))
        interval = now = UNKNOWN
        if mean is not None:
            observations, weights, means = self._sums.blocks()
            if self._horizon.observations < self._longest:
                weights = self._horizon.weights(observations, weights, self._longest)
                weight = float(weights.sum())
                grad_sq, trace = (float(moment) for moment in weights @ means / weight)
            covariance = mean_covariance(observations, weights, means[:, ::-1])
            drift = np.diag([0.0, self._horizon.drift_variance])

            def fieller_set(matrix: NDArray[np.float64]) -> RatioInterval:
                return fieller(trace, grad_sq, matrix, covariance.degrees_of_freedom, level)

            interval, now = fieller_set(covariance.matrix), fieller_set(covariance.matrix + drift)
        outlier_share = self._outliers / self._signal if self._signal > 0 else math.nan
        return NoiseScaleEstimate(
            noise_scale=trace / grad_sq if grad_sq > 0 else math.nan,
            low=interval.low,
            high=interval.high,
            resolved=interval.resolved,
            now_low=now.low,
            now_high=math.inf if outlier_share > MANY_OUTLIERS else now.high,
            outlier_share=outlier_share,
            level=level,
            horizon_observations=min(self._horizon.observations, self._measured),
            grad_sq=grad_sq,
            trace=trace,
            updates=self._updates,
            skipped=self._skipped,
            observations=weight,
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
            "signal": [self._signal, self._outliers],
            "updates": self._updates,
            "skipped": self._skipped,
            "measured": self._measured,
            "horizon": [
                None if math.isinf(self._horizon.observations) else self._horizon.observations,
                self._horizon.drift_variance,
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned; what was given at construction stays.

        Where the state is of a version whose horizons were fixed, the horizon is chosen from its blocks.
        """
        self._sums.load_state_dict(state["sums"])
        self._ladder = {int(size): (float(weight), float(total)) for size, weight, total in state["ladder"]}
        self._signal, self._outliers = state.get("signal", (0.0, 0.0))
        self._updates = int(state["updates"])
        self._skipped = int(state["skipped"])
        observations, _, means = self._sums.blocks() if len(self._sums) else (np.zeros(0), None, None)
        self._measured = float(state.get("measured", observations.sum()))
        if "horizon" in state:
            chosen, drift_variance = state["horizon"]
            chosen = self._longest if chosen is None else min(float(chosen), self._longest)
            self._horizon = Horizon(observations=chosen, drift_variance=float(drift_variance))
        elif self._follows_run and means is not None:
            self._horizon = choose_horizon(observations, means, self._longest)


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return level
