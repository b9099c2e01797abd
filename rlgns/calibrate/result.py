"""What `rlgns calibrate` found, as numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlgns.calibrate import estimators as r
from rlgns.noise import NoiseScaleEstimate, design_effect, shuffled_noise_scale
from rlgns.noise.interval import Ratio
from rlgns.noise.offline.brute_force import BruteForceResult, jackknife_error
from rlgns.noise.offline.comparison import Quality, spread_ratio
from rlgns.storage.checkpoint import Policy
from rlgns.storage.files import plain

Array = NDArray[np.float64]

SPREAD_OBSERVATIONS = 100_000
"""Observations that spreads are told for."""

PAIRS = (
    (r.RIDE_ALONG, r.ONE_SMALL),
    (r.RIDE_ALONG, r.TWO_RANKS),
    (r.RIDE_ALONG, r.GPT_NEOX),
    (r.PROBE, r.PROBE_ONE_SMALL),
    (r.PROBE, r.PROBE_TWO_RANKS),
)
"""Ours and theirs at equal extra gradient compute: none in the first three, one pass over the rollout in the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The truth, and every estimator beside it."""

    checkpoint: Path
    policy: Policy
    seed: int
    precision: float
    """That was asked for."""
    interrupted: bool
    truth: BruteForceResult
    rivals: r.OnlineEstimators
    seconds: float

    @property
    def estimate(self) -> NoiseScaleEstimate:
        """What the ride-along measurement says of everything that was played."""
        return self.rivals.trackers[-1].estimate()

    @property
    def agrees(self) -> bool:
        """Whether the ride-along's interval contains the truth's point value (or, if unresolved, could)."""
        return contains(self.estimate, self.truth)

    @property
    def sets_that_agree(self) -> int:
        """Sets of environments whose own ride-along interval, from their games alone, contains the truth."""
        return sum(contains(estimate, self.truth) for estimate in self.own_estimates)

    @property
    def own_estimates(self) -> list[NoiseScaleEstimate]:
        """What the ride-along says of each set of environments from its games alone."""
        return [tracker.estimate() for tracker in self.rivals.trackers[:-1]]

    @property
    def design_effect(self) -> tuple[float, float]:
        """Trace by environments over the variance of single observations, E|g_i|^2 - |G|^2, and its standard error."""

        def effect(truth: Array, norms: Array) -> float:
            single = norms.sum() - truth[0]  # the two moments add up to E|g_i|^2
            return float(truth[1] / single) if single > 0 else math.nan

        return self._with_error(effect, r.PER_EXAMPLE)

    @property
    def design_effect_by_shuffling(self) -> tuple[float, float]:
        """The same from batches split by shuffled observations, as training measures it."""
        batch = self.policy.config.batch_observations
        return self._with_error(
            lambda truth, moments: design_effect(float(truth[1]), float(moments[1]), batch).design_effect, r.SHUFFLED
        )

    def _with_error(self, statistic: Callable[[Array, Array], float], name: str) -> tuple[float, float]:
        """A statistic of the truth's and an estimator's moments, its error from leaving out a set in both."""
        series, truth = self.rivals.series[name], self.truth
        left = [statistic(kept, series.means(without=index)) for index, kept in enumerate(truth.without_set)]
        value = statistic(np.array([truth.grad_sq, truth.trace]), series.means())
        return value, float(jackknife_error(np.array(left)))

    @property
    def shuffled(self) -> float:
        """What a shuffled split must report of this truth, by theory."""
        truth = self.truth
        return shuffled_noise_scale(
            truth.grad_sq, truth.trace, self.design_effect_by_shuffling[0], self.policy.config.batch_observations
        )

    def qualities(self) -> dict[str, Quality]:
        """Every estimator beside the truth."""
        return {
            name: series.quality(self.truth, SPREAD_OBSERVATIONS, unbiased=name in r.UNBIASED)
            for name, series in self.rivals.series.items()
        }

    def spread_ratios(self) -> dict[tuple[str, str], Ratio]:
        """Our standard deviation of the log noise scale over theirs, at equal extra gradient compute."""
        series = self.rivals.series
        return {
            (ours, theirs): spread_ratio(series[ours], series[theirs], self.truth, theirs_unbiased=theirs in r.UNBIASED)
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
                name: dataclasses.asdict(quality)
                | {
                    "extra_passes": r.EXTRA_PASSES.get(name, 0),
                    "microseconds_per_observation": self.microseconds(name),
                }
                for name, quality in self.qualities().items()
            },
            "spread_ratios": [
                {"ours": ours, "theirs": theirs, "extra_passes": r.EXTRA_PASSES.get(ours, 0)}
                | dataclasses.asdict(ratio)
                for (ours, theirs), ratio in self.spread_ratios().items()
            ],
            "seconds": self.seconds,
        }
        cleaned: dict[str, Any] = plain(found)
        return cleaned

    def microseconds(self, name: str) -> float:
        """Time per observation that an estimator takes beyond training, as measured here; NaN where not measured."""
        costs = self.rivals.costs
        if name == r.RIDE_ALONG:
            return self.rivals.ride_along_cost().microseconds
        if r.EXTRA_PASSES.get(name, 0):
            return costs[name if name in costs else r.PROBE].microseconds
        return math.nan


def contains(estimate: NoiseScaleEstimate, truth: BruteForceResult) -> bool:
    """Whether an interval holds the truth; a truth whose |G|^2 is not positive is an infinite noise scale."""
    value = truth.noise_scale if truth.noise_scale > 0 else math.inf
    return bool(estimate.low <= value <= estimate.high)
