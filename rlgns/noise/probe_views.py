"""All views of the noise scale that one probe gives: by loss, by layer, preconditioned, and along time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from rlgns.noise.losses_and_layers import combined, cross_moments
from rlgns.noise.moments import Moments
from rlgns.noise.time_ladder import TimeLadder, TimeLadderTracker, time_ladder_of_groups
from rlgns.noise.view_tracker import ViewEstimate, ViewTracker

HEADS = "_head"
"""Layers whose names end like this are heads; all others are the trunk."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitProducts:
    """Inner products of the gradients of one split of a batch into groups of equal size."""

    by_layer: NDArray[np.float64]
    """[layers, losses, losses, groups, groups], see `products_by_layer`."""

    preconditioned: NDArray[np.float64] | None
    """[groups, groups], of the whole loss's preconditioned gradients; None before the optimizer's first step."""

    observations_per_group: int
    """Observations behind each gradient."""

    @property
    def is_finite(self) -> bool:
        """False where a gradient was NaN or infinite."""
        rest = self.preconditioned
        return bool(np.isfinite(self.by_layer).all() and (rest is None or np.isfinite(rest).all()))


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeProducts:
    """What a probe measured on the observations of one iteration at one parameter vector."""

    by_env: SplitProducts
    """Groups of whole environments."""

    shuffled: SplitProducts
    """Groups of observations drawn at random from a part of the batch."""

    segments: NDArray[np.float64]
    """[groups, segments, segments], within each group of environments, of the whole loss, in order of time."""

    steps: int
    """Steps of each environment, T."""

    envs_per_group: int
    """Environments in each group."""

    @property
    def is_finite(self) -> bool:
        """False where a gradient was NaN or infinite."""
        return self.by_env.is_finite and self.shuffled.is_finite and bool(np.isfinite(self.segments).all())


@final
class ProbeViews:
    """The smoothed sums of every view.

    The views are `joint`, the whole loss; each loss by its name; `preconditioned`, the whole loss in the optimizer's
    metric; `trunk` and `heads`, the whole loss's gradient in two parts of the network. Each layer has a view too.
    """

    def __init__(
        self,
        layers: Sequence[str],
        coefficients: Mapping[str, float],
        horizon_observations: float | None = None,
        level: float = 0.95,
        *,
        follows_run: bool = False,
        steady_horizon_observations: float | None = None,
    ) -> None:
        """Starts empty.

        Args:
            layers: names, in the order of the parameters.
            coefficients: weight of each loss in the whole, by name, in the order of the gradients' rows.
            horizon_observations: as in NoiseScaleTracker, in observations that were probed.
            level: confidence of the intervals.
            follows_run: as in NoiseScaleTracker.
            steady_horizon_observations: horizon of what does not follow the run: dimensions, design effects, the time
                ladder. None: `horizon_observations`.
        """
        self._layers, self._level = tuple(layers), level
        self._losses, self._coefficients = tuple(coefficients), tuple(coefficients.values())
        names = ("joint", *self._losses, "preconditioned", "trunk", "heads")
        steady = steady_horizon_observations or horizon_observations

        def view() -> ViewTracker:
            return ViewTracker(horizon_observations, level, follows_run=follows_run, steady_horizon_observations=steady)

        self._views = {name: view() for name in names}
        self._by_layer = {name: view() for name in layers}
        self._time = TimeLadderTracker(steady)
        self.cross: list[list[Moments]] = []
        """Moments of every pair of losses in the newest probe, [losses][losses]."""
        self.probes = self.skipped = 0

    def update(self, probe: ProbeProducts) -> bool:
        """Adds one probe. Returns False for one with a gradient that is not finite, which is counted and skipped."""
        if not probe.is_finite:
            self.skipped += 1
            return False
        self.probes += 1
        by_env, shuffled = self._products(probe.by_env), self._products(probe.shuffled)
        for name, view in (self._views | self._by_layer).items():
            products = by_env.get(name)
            if products is not None:
                view.update(
                    products,
                    probe.by_env.observations_per_group,
                    shuffled=shuffled[name],
                    shuffled_per_group=probe.shuffled.observations_per_group,
                )
        self.cross = cross_moments(probe.by_env.by_layer.sum(0), probe.by_env.observations_per_group)
        joint = self._views["joint"].estimate().latest
        assert joint is not None
        divisor = self._views["joint"].divisor
        if divisor is None:
            self._time.restart()
        else:
            ladder = time_ladder_of_groups(
                probe.segments, grad_sq=joint.grad_sq, steps=probe.steps, envs_per_group=probe.envs_per_group
            )
            self._time.update(ladder.scaled(1 / divisor), joint.observations)
        return True

    def estimates(self) -> dict[str, ViewEstimate]:
        """Returns what is known of each view so far."""
        return {name: view.estimate() for name, view in self._views.items()}

    def layers(self) -> dict[str, ViewEstimate]:
        """Returns each layer's view of the whole loss; the moments of one probe add up over layers to the joint's."""
        return {name: view.estimate() for name, view in self._by_layer.items()}

    def time_ladder(self) -> TimeLadder | None:
        """Returns the smoothed time ladder in units of the gradients' size; None before the second probe."""
        return self._time.estimate()

    def twice_steps_interval(self) -> tuple[float, float]:
        """Returns the confidence interval of the time ladder's `twice_steps_noise`; NaN where unknown."""
        return self._time.twice_steps_interval(self._level)

    def resolves_first(self, batch_observations: float) -> str | None:
        """Returns the view whose |G|^2 takes the fewest updates at this batch to resolve; None where unknown."""
        updates = {name: view.updates_to_resolve(batch_observations) for name, view in self.estimates().items()}
        known = {name: value for name, value in updates.items() if not math.isnan(value)}
        return min(known, key=known.__getitem__) if known else None

    def state_dict(self) -> dict[str, Any]:
        """Returns all sums, plain Python numbers and lists."""
        return {
            "views": {name: view.state_dict() for name, view in self._views.items()},
            "layers": {name: view.state_dict() for name, view in self._by_layer.items()},
            "time": self._time.state_dict(),
            "probes": self.probes,
            "skipped": self.skipped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned; what was given at construction stays."""
        for views, key in ((self._views, "views"), (self._by_layer, "layers")):
            for name, view in views.items():
                view.load_state_dict(state[key][name])
        self._time.load_state_dict(state["time"])
        self.probes, self.skipped = int(state["probes"]), int(state["skipped"])

    def _products(self, split: SplitProducts) -> dict[str, NDArray[np.float64] | None]:
        """[groups, groups] by view and layer."""
        whole = split.by_layer.sum(0)
        by_layer = {
            name: combined(products, self._coefficients)
            for name, products in zip(self._layers, split.by_layer, strict=True)
        }
        empty = np.zeros_like(whole[0, 0])
        heads = sum((part for name, part in by_layer.items() if name.endswith(HEADS)), start=empty)
        trunk = sum((part for name, part in by_layer.items() if not name.endswith(HEADS)), start=empty)
        losses = {name: whole[index, index] for index, name in enumerate(self._losses)}
        return {
            "joint": combined(whole, self._coefficients),
            **losses,
            "preconditioned": split.preconditioned,
            "trunk": trunk,
            "heads": heads,
            **by_layer,
        }
