"""One view of the noise scale over time: of the whole loss, of one loss, of some layers, preconditioned or not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from rlgns.noise.block_sums import BlockSums
from rlgns.noise.design_effect import design_effect
from rlgns.noise.gradient_size import GradientSize
from rlgns.noise.moments import Moments, moments_from_gram
from rlgns.noise.noise_dimension import covariance_traces, noise_dimension, updates_to_resolve
from rlgns.noise.tracker import NoiseScaleEstimate, NoiseScaleTracker

SIZE_BATCHES = 4
"""Batches over which the gradients' size is averaged: fewer than in training, since a view is measured rarely."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ViewEstimate:
    """What is known of a view so far; NaN where undefined."""

    latest: Moments | None
    """Moments of the newest batch, as measured."""

    estimate: NoiseScaleEstimate
    """The smoothed noise scale, with its interval."""

    dimension: float
    """Noise dimension tr(Sigma)^2 / tr(Sigma^2), each unbiased and averaged, at least 1; needs four groups."""

    design_effect: float
    """Observations of one environment that are worth one independent observation."""

    def updates_to_resolve(self, batch_observations: float) -> float:
        """Returns the updates at this batch size until |G|^2 typically differs from zero; NaN where not known yet."""
        scale = self.estimate.noise_scale
        return updates_to_resolve(scale, batch_observations, self.dimension, self.estimate.level)


@final
class ViewTracker:
    """Smooths one view's moments, noise dimension and design effect; ratios are formed on read.

    Weights are those of NoiseScaleTracker, ages in the view's own observations. Every batch is divided by the size of
    gradients known before it (see GradientSize). Dimension and design effect have a fixed horizon.
    """

    def __init__(
        self,
        horizon_observations: float | None = None,
        level: float = 0.95,
        *,
        follows_run: bool = False,
        steady_horizon_observations: float | None = None,
    ) -> None:
        """Starts empty; arguments as in NoiseScaleTracker, the last for dimension and design effect (None: first)."""
        self._size = GradientSize(SIZE_BATCHES)
        self._tracker = NoiseScaleTracker(horizon_observations, level, follows_run=follows_run)
        self._spread = BlockSums(steady_horizon_observations or horizon_observations)  # as in `update`
        self._latest: Moments | None = None

    @property
    def divisor(self) -> float | None:
        """The squared size that the newest batch was divided by; None where sums start again, as with the first one."""
        return self._size.divisor

    def update(
        self,
        products: NDArray[np.float64],
        observations_per_group: int,
        *,
        shuffled: NDArray[np.float64] | None = None,
        shuffled_per_group: int = 1,
    ) -> None:
        """Adds one batch.

        Args:
            products: [groups, groups], inner products of the gradients of groups of whole environments.
            observations_per_group: observations behind each.
            shuffled: [groups, groups], those of groups of observations drawn at random from the same batch without
                replacement, all of it or a part. None: no design effect.
            shuffled_per_group: observations behind each of these.
        """
        moments = moments_from_gram(products, observations_per_group)
        self._latest = moments
        relative = self._size.divide(moments)
        if relative is None:
            self._tracker.restart()
            self._spread.clear()
            return
        size = self._size.divisor
        self._tracker.update(relative)
        if size is None or not relative.is_finite:
            return
        traces = (math.nan, math.nan)  # tr(Sigma)^2, tr(Sigma^2)
        if len(products) >= 4:
            traces = covariance_traces(products, observations_per_group)
        trace_shuffled = math.nan if shuffled is None else moments_from_gram(shuffled, shuffled_per_group).trace
        n = moments.observations
        squares = [value / size**2 for value in traces]
        self._spread.update(np.array([relative.trace, *squares, trace_shuffled / size, n]), n)

    def estimate(self) -> ViewEstimate:
        """Returns what is known so far."""
        dimension = effect = math.nan
        mean = self._spread.mean()
        if mean is not None:
            trace, trace_sq, sq_trace, trace_shuffled, observations = (float(value) for value in mean)
            dimension = noise_dimension(math.sqrt(trace_sq), sq_trace)
            effect = design_effect(trace, trace_shuffled, observations)
        return ViewEstimate(
            latest=self._latest, estimate=self._tracker.estimate(), dimension=dimension, design_effect=effect
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns everything but the newest batch, as plain Python numbers and lists."""
        return {
            "size": self._size.state_dict(),
            "tracker": self._tracker.state_dict(),
            "spread": self._spread.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned; horizon and level stay those given at construction."""
        self._size.load_state_dict(state["size"])
        self._tracker.load_state_dict(state["tracker"])
        self._spread.load_state_dict(state["spread"])
