"""The ride-along measurement: turns the group gradients of an update into the noise scale."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from torch import Tensor

from rlgns.agents.batch_gradients import GroupSplit
from rlgns.agents.compute.products import inner_products
from rlgns.critical.predicted import average_entries
from rlgns.critical.run_average import RunAverage
from rlgns.noise.config import NoiseConfig
from rlgns.noise.live_statistics import LiveStatistics
from rlgns.noise.tracker import NoiseScaleEstimate


@final
class RideAlong:
    """Receives the group gradients of every first-epoch batch and keeps all smoothed sums of one run."""

    def __init__(
        self,
        config: NoiseConfig,
        *,
        minibatches: int,
        add_up: Callable[[Tensor], Tensor] = lambda products: products,
    ) -> None:
        """Starts with nothing measured.

        Args:
            config: Settings.
            minibatches: Optimizer steps per epoch.
            add_up: Sums over all learners, each of which holds some columns of the groups' gradients. Default: a
                single learner holds all columns.
        """
        self._add_up = add_up
        self._shuffled_every = config.shuffled_every
        self._statistics = LiveStatistics(config, minibatches=minibatches)
        self._run_average, self._level = RunAverage(), config.level
        self._average: dict[str, Any] | None = None
        self._waiting: list[tuple[Tensor, GroupSplit]] = []
        self.divisors: dict[int, float | None] = {}
        """What each batch of the last `settle` was divided by (`GradientSize`), by optimizer steps before it."""
        self.measure_s = 0.0

    def on_groups(self, gradients: Tensor, split: GroupSplit) -> None:
        """Receives the group gradients [groups, parameters] of one batch, or this learner's columns of them."""
        began = time.perf_counter()
        products = inner_products(gradients)
        self.measure_s += time.perf_counter() - began
        self.on_products(products, split)
        self.settle()

    def on_products(self, products: Tensor, split: GroupSplit) -> None:
        """Receives their inner products [groups, groups], or those of this learner's columns, for the next `settle`.

        So an update's steps do not wait for the device or for other learners.
        """
        self._waiting.append((products, split))

    def settle(self) -> None:
        """Processes what was received since the last call; all learners must call it at the same points."""
        if not self._waiting:
            return
        began = time.perf_counter()
        # Inner products are sums over columns.
        batches = self._add_up(torch.stack([products for products, _ in self._waiting])).cpu().numpy()
        self.divisors = {}
        for products, (_, split) in zip(batches, self._waiting, strict=True):
            self._statistics.update(products, split.observations_per_group, shuffled=split.shuffled, step=split.step)
            self.divisors[split.step] = self._statistics.divisor
        self._waiting = []
        self.measure_s += time.perf_counter() - began

    def split_shuffled(self, iteration: int) -> bool:
        """Returns whether this iteration's first batch is split by shuffled observations."""
        every = self._shuffled_every
        return bool(every) and iteration % every == every - 1

    def estimate(self) -> NoiseScaleEstimate:
        """Returns the smoothed noise scale with its interval."""
        return self._statistics.estimate()

    @property
    def design_effect(self) -> float:
        """Smoothed design effect; NaN before a batch was split by shuffled observations."""
        return self._statistics.design_effect

    def report(
        self, *, optimizer_steps: int, batch_observations: int, learning_rate: float, refresh: bool = True
    ) -> dict[str, Any]:
        """Ends an iteration of so many steps at this batch and rate: returns its entries of the metrics row.

        Args:
            optimizer_steps: Of the iteration.
            batch_observations: Of each step.
            learning_rate: Of each step.
            refresh: Without it, smoothed noise scales, the run average and their intervals are those of the last row.
        """
        self.settle()
        row = self._statistics.row(refresh=refresh)
        self._run_average.update(
            grad_sq=row["noise/grad_sq"],
            trace=row["noise/trace"],
            batch=batch_observations,
            steps=optimizer_steps,
            learning_rate=learning_rate,
        )
        self.measure_s = 0.0
        if refresh or self._average is None:
            self._average = average_entries(self._run_average.estimate(self._level))
        return {**row, **self._average}

    def state_dict(self) -> dict[str, Any]:
        """Returns all sums, plain types."""
        return {**self._statistics.state_dict(), "run_average": self._run_average.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._statistics.load_state_dict(state)
        self._run_average.load_state_dict(state["run_average"])
        self._average = None
