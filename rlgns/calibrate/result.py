"""The numbers that `rlgns calibrate` finds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlgns.calibrate.estimator_names import PAIRS, PER_EXAMPLE, PROBE, RIDE_ALONG, SHUFFLED, Estimator
from rlgns.calibrate.estimators import OnlineEstimators
from rlgns.errors import ExitCode
from rlgns.noise import NoiseScaleEstimate, design_effect, shuffled_noise_scale
from rlgns.noise.interval import Ratio
from rlgns.noise.offline.brute_force import BruteForceResult, jackknife_error
from rlgns.noise.offline.comparison import Quality, spread_ratio
from rlgns.storage.checkpoint import Policy
from rlgns.storage.files import plain

Array = NDArray[np.float64]

SPREAD_OBSERVATIONS = 100_000
"""Observations that an estimate is made from where its spread is compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The truth, and every estimator beside it."""

    checkpoint: Path
    policy: Policy
    seed: int
    precision: float
    """Relative standard error asked for."""
    interrupted: bool
    stopped: ExitCode | None
    """How: INTERRUPTED or TERMINATED; None where it was not."""
    truth: BruteForceResult
    estimators: OnlineEstimators
    seconds: float

    @property
    def estimate(self) -> NoiseScaleEstimate:
        """The ride-along measurement over all games played, at the frozen parameters."""
        return self.estimators.trackers[-1].estimate()

    @property
    def agrees(self) -> bool:
        """Whether the ride-along's interval contains the truth's point value (or, if unresolved, could)."""
        return contains(self.estimate, self.truth)

    @property
    def sets_that_agree(self) -> int:
        """Sets of environments whose ride-along interval, from their games alone, contains the truth."""
        return sum(contains(estimate, self.truth) for estimate in self.own_estimates)

    @property
    def own_estimates(self) -> list[NoiseScaleEstimate]:
        """The ride-along measurement of each set of environments, from its games alone."""
        return [tracker.estimate() for tracker in self.estimators.trackers[:-1]]

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
        series, truth = self.estimators.series[estimator], self.truth
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

    def qualities(self) -> dict[Estimator, Quality]:
        """Returns every estimator's quality beside the truth."""
        return {
            estimator: series.quality(self.truth, SPREAD_OBSERVATIONS, unbiased=estimator.unbiased)
            for estimator, series in self.estimators.series.items()
        }

    def spread_ratios(self) -> dict[tuple[Estimator, Estimator], Ratio]:
        """Returns our standard deviation of the log noise scale over theirs, at equal extra gradient compute."""
        series = self.estimators.series
        return {
            (ours, theirs): spread_ratio(series[ours], series[theirs], self.truth, theirs_unbiased=theirs.unbiased)
            for ours, theirs in PAIRS
            if ours in series and theirs in series
        }

    def as_dict(self) -> dict[str, Any]:
        """Returns every number; what is not defined or not finite is None."""
        truth = dataclasses.asdict(self.truth)
        del truth["without_set"]
        estimate = {
            name: getattr(self.estimate, name)
            for name in ("noise_scale", "low", "high", "resolved", "level", "updates")
        }
        found: dict[str, Any] = {
            "checkpoint": str(self.checkpoint),
            "game": self.policy.game,
            "trained_observations": self.policy.observations,
            "seed": self.seed,
            "precision_asked": self.precision,
            "precision_reached": dict(zip(("grad_sq", "trace"), self.truth.precision, strict=True)),
            "observations_needed": self.truth.observations_for(self.precision),
            "interrupted": self.interrupted,
            "truth": truth,
            "design_effect": self.design_effect[0],
            "design_effect_error": self.design_effect[1],
            "design_effect_by_shuffling": self.design_effect_by_shuffling[0],
            "design_effect_by_shuffling_error": self.design_effect_by_shuffling[1],
            "ride_along": estimate | {"contains_truth": self.agrees, "sets_that_contain_truth": self.sets_that_agree},
            "shuffled_by_theory": self.shuffled,
            "spread_observations": SPREAD_OBSERVATIONS,
            "estimators": {
                estimator.name: dataclasses.asdict(quality)
                | {
                    "extra_passes": estimator.extra_passes,
                    "microseconds_per_observation": self.microseconds(estimator),
                }
                for estimator, quality in self.qualities().items()
            },
            "spread_ratios": [
                {"ours": ours.name, "theirs": theirs.name, "extra_passes": ours.extra_passes}
                | dataclasses.asdict(ratio)
                for (ours, theirs), ratio in self.spread_ratios().items()
            ],
            "seconds": self.seconds,
        }
        cleaned: dict[str, Any] = plain(found)
        return cleaned

    def microseconds(self, estimator: Estimator) -> float:
        """Returns the time per observation beyond training, as measured here; NaN where not measured."""
        costs = self.estimators.costs
        if estimator == RIDE_ALONG:
            return self.estimators.ride_along_cost().microseconds
        if estimator.extra_passes:
            return costs[estimator if estimator in costs else PROBE].microseconds
        return math.nan


def contains(estimate: NoiseScaleEstimate, truth: BruteForceResult) -> bool:
    """Returns whether an interval holds the truth; where |G|^2 is not positive the noise scale is infinite."""
    value = truth.noise_scale if truth.noise_scale > 0 else math.inf
    return bool(estimate.low <= value <= estimate.high)
