"""The numbers that `rlgns calibrate` finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlgns.calibrate.estimator_names import (
    PAIRS,
    PER_EXAMPLE,
    PROBE,
    RIDE_ALONG,
    RIDE_ALONG_STILL,
    SHUFFLED,
    Estimator,
)
from rlgns.calibrate.estimators import OnlineEstimators
from rlgns.calibrate.live_batches import LiveBatches
from rlgns.calibrate.replay import Replays
from rlgns.calibrate.run_numbers import PREFIXES
from rlgns.errors import ExitCode
from rlgns.noise import NoiseScaleEstimate, design_effect, shuffled_noise_scale
from rlgns.noise.in_row import now_in
from rlgns.noise.interval import Ratio
from rlgns.noise.offline.brute_force import BruteForceResult
from rlgns.noise.offline.burn_in import BurnIn
from rlgns.noise.offline.comparison import Quality, Series, spread_ratio
from rlgns.noise.offline.path_truth import PathResult
from rlgns.noise.offline.truth import Truth, jackknife_error
from rlgns.storage.checkpoint import Policy

Array = NDArray[np.float64]

SPREAD_OBSERVATIONS = 100_000
"""Observations that an estimate is made from where its spread is compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveSets:
    """What training's code says of single sets of environments, and whether each interval holds the truth."""

    estimates: tuple[NoiseScaleEstimate, ...]
    """One per set."""
    together: NoiseScaleEstimate
    """Of all of them."""
    truth: float
    """Noise scale by brute force; infinite where |G|^2 is not positive."""

    @property
    def inside(self) -> int:
        """Sets whose interval holds the truth's point value."""
        return sum(estimate.low <= self.truth <= estimate.high for estimate in self.estimates)

    @property
    def together_inside(self) -> bool:
        """Whether the interval of all of them does."""
        return bool(self.together.low <= self.truth <= self.together.high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Both truths, and every estimator beside them."""

    checkpoint: Path
    policy: Policy
    seed: int
    precision: float
    """Relative standard error asked for."""
    stopped: ExitCode | None
    """How: INTERRUPTED, TERMINATED or HUNG_UP; None where it was not."""
    observations: int
    """Played, those left out included."""
    truth: BruteForceResult
    """At the parameters that played."""
    path: PathResult | None
    """Along the steps of a first epoch; None where an epoch has one step, or too little was played."""
    rounds: Array
    """[rounds, 2], grad_sq and trace of each round at the parameters that played."""
    burn_in: BurnIn
    estimators: OnlineEstimators
    replays: Replays | None
    row: Mapping[str, Any]
    """What the run logged at this checkpoint; empty where its rows are not there."""
    seconds: float

    @property
    def live_sets(self) -> dict[str, LiveSets]:
        """Single sets of environments as training measures them, by what they measure: `at_rollout`, `along_steps`."""
        found = {"at_rollout": self._live_sets(self.estimators.live, self.truth.noise_scale)}
        if self.replays and self.path:
            found["along_steps"] = self._live_sets(self.replays.live, self.path.noise_scale)
        return found

    def _live_sets(self, live: LiveBatches, truth: float) -> LiveSets:
        first = self.burn_in.first
        return LiveSets(
            estimates=tuple(live.estimate(first, index) for index in live.sets),
            together=live.estimate(first),
            truth=truth if truth > 0 else math.inf,
        )

    @property
    def logged(self) -> dict[str, Ratio]:
        """The run's own noise scales at this checkpoint, those that it logged."""
        found = {name: now_in(self.row, prefix) for name, prefix in PREFIXES.items()}
        return {name: scale for name, scale in found.items() if not math.isnan(scale.low)}

    @property
    def design_effect(self) -> tuple[float, float]:
        """Trace by environments over the variance of single observations, E|g_i|^2 - |G|^2, and its standard error."""

        def effect(truth: Array, norms: Array) -> float:
            single = norms.sum() - truth[0]  # the two moments add up to E|g_i|^2
            return float(truth[1] / single) if single > 0 else math.nan

        return self._with_error(effect, PER_EXAMPLE)

    @property
    def design_effect_by_shuffling(self) -> tuple[float, float]:
        """The same from batches split by shuffled observations, as training measures it."""
        batch = self.policy.config.batch_observations
        return self._with_error(
            lambda truth, moments: design_effect(float(truth[1]), float(moments[1]), batch), SHUFFLED
        )

    def _with_error(self, statistic: Callable[[Array, Array], float], estimator: Estimator) -> tuple[float, float]:
        """Returns a statistic of the truth's and an estimator's moments, and its jackknife error over sets."""
        series, truth = self.series[estimator], self.truth
        left = [statistic(kept, series.means(without=index)) for index, kept in enumerate(truth.without_set)]
        value = statistic(np.array([truth.grad_sq, truth.trace]), series.means())
        return value, float(jackknife_error(np.array(left)))

    @property
    def shuffled(self) -> float:
        """The noise scale that a shuffled split must report, by theory."""
        truth = self.truth
        return shuffled_noise_scale(
            truth.grad_sq, truth.trace, self.design_effect_by_shuffling[0], self.policy.config.batch_observations
        )

    @property
    def series(self) -> dict[Estimator, Series]:
        """Every estimator's measurements in the rounds that count; those along the steps first."""
        along = self.replays.series if self.replays and self.path else {}
        return {
            estimator: series.since(self.burn_in.first)
            for estimator, series in (along | self.estimators.series).items()
        }

    @property
    def truths(self) -> dict[str, Truth]:
        """Both truths by name."""
        return {"at_rollout": self.truth} | ({"along_steps": self.path} if self.path else {})

    def qualities(self) -> dict[Estimator, dict[str, Quality]]:
        """Returns every estimator's quality beside each truth."""
        return {
            estimator: {
                name: series.quality(truth, SPREAD_OBSERVATIONS, unbiased=estimator.unbiased)
                for name, truth in self.truths.items()
            }
            for estimator, series in self.series.items()
        }

    def spread_ratios(self) -> dict[tuple[Estimator, Estimator], Ratio]:
        """Returns our standard deviation of the log noise scale over theirs, at equal extra gradient compute."""
        series, found = self.series, {}
        for ours, theirs in PAIRS:
            truth: Truth | None = self.path if ours.along_steps else self.truth
            if ours in series and theirs in series and truth is not None:
                found[ours, theirs] = spread_ratio(series[ours], series[theirs], truth, theirs_unbiased=theirs.unbiased)
        return found

    def microseconds(self, estimator: Estimator) -> float:
        """Returns the time per observation beyond training, as measured here; NaN where not measured."""
        costs = self.estimators.costs
        if estimator in (RIDE_ALONG, RIDE_ALONG_STILL):
            return self.estimators.live.cost.microseconds
        if estimator.extra_passes:
            return costs[estimator if estimator in costs else PROBE].microseconds
        return math.nan

    @property
    def precision_reached(self) -> dict[str, float]:
        """Relative standard errors: of both moments at the parameters that played, of |G|^2 along the steps."""
        grad_sq, trace = self.truth.precision
        return {"grad_sq": grad_sq, "trace": trace} | ({"along_steps": self.path.precision} if self.path else {})

    @property
    def enough(self) -> bool:
        """Whether everything is as precise as was asked for, from rounds that agree."""
        return self.burn_in.agrees and max(self.precision_reached.values()) <= self.precision
