"""Measured batches of a calibration, kept so that training's own code can be run over any of them."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import final

import torch

from rlgns.agents.batch_gradients import GroupSplit
from rlgns.agents.compute.products import inner_products
from rlgns.calibrate.frozen_policy import PlayedSet
from rlgns.config.schema import Config
from rlgns.engine.ride_along import RideAlong
from rlgns.noise import NoiseScaleEstimate


@dataclass(slots=True)
class Cost:
    """Time taken, and for how many observations."""

    seconds: float = 0.0
    observations: int = 0

    @property
    def microseconds(self) -> float:
        """Per observation; NaN before any."""
        return 1e6 * self.seconds / self.observations if self.observations else float("nan")

    def add(self, began: float, observations: int) -> None:
        """Adds the time since `began` (perf_counter)."""
        self.seconds += time.perf_counter() - began
        self.observations += observations


@final
class LiveBatches:
    """Keeps the inner products of measured batches by set of environments and round: some numbers each."""

    def __init__(self, run: Config) -> None:
        """Starts empty."""
        self._config = dataclasses.replace(run.noise, horizon_observations=0, horizon_follows_run=False)
        self._minibatches = run.agent.minibatches
        self._batches: list[tuple[PlayedSet, torch.Tensor, GroupSplit]] = []
        self.cost = Cost()
        """Of the inner products, which is all that measuring adds to a training step."""

    def add(self, played: PlayedSet, gradients: torch.Tensor, split: GroupSplit) -> None:
        """Adds the group gradients [groups, parameters] of one batch of a rollout."""
        began = time.perf_counter()
        products = inner_products(gradients)
        self.cost.add(began, len(gradients) * split.observations_per_group)
        self._batches.append((dataclasses.replace(played, rollouts=[]), products, split))

    def estimate(self, first: int, set_index: int | None = None) -> NoiseScaleEstimate:
        """Returns what training's code says of the batches from round `first` on, of one set or of all."""
        tracker = RideAlong(self._config, minibatches=self._minibatches)
        for played, products, split in self._batches:
            if played.round_index >= first and set_index in (None, played.set_index):
                tracker.on_products(products, split)
        tracker.settle()
        return tracker.estimate()

    @property
    def sets(self) -> list[int]:
        """Sets of environments with batches."""
        return sorted({played.set_index for played, _, _ in self._batches})
