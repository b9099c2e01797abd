"""The ride-along measurement: turns the group gradients of an update into the noise scale."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, final

import torch
from torch import Tensor

from rlgns.agents.batch_gradients import GroupSplit
from rlgns.agents.compute.products import inner_products
from rlgns.critical.run_average import RunAverage
from rlgns.noise.config import NoiseConfig
from rlgns.noise.live_statistics import LiveStatistics
from rlgns.noise.tracker import NoiseScaleEstimate

TINY = 1e-9
"""Observations that stand for a lower end of zero, so that it counts as a noise scale."""


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
        self._run_averages = {end: RunAverage() for end in ("", "_low", "_high")}
        self._at_least = RunAverage()
        self._waiting: list[tuple[Tensor, GroupSplit]] = []
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
        for products, (_, split) in zip(batches, self._waiting, strict=True):
            self._statistics.update(products, split.observations_per_group, shuffled=split.shuffled, step=split.step)
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

    @property
    def exchange_rate(self) -> float:
        """E_min / S_min of the run so far, from the lower bound where only that is known; NaN where nothing is."""
        return self._at_least.value

    def report(self, *, optimizer_steps: int, batch_observations: int) -> dict[str, Any]:
        """Ends an iteration of so many steps at this batch: returns its entries of the metrics row."""
        self.settle()
        estimate = self.estimate()
        ends = {"": estimate.noise_scale, "_low": max(estimate.low, TINY), "_high": estimate.high}
        for end, sums in self._run_averages.items():
            sums.update(ends[end] if estimate.resolved else None, batch_observations, optimizer_steps)
        average = self._run_averages[""]
        known = estimate.noise_scale if estimate.resolved else estimate.low
        self._at_least.update(known, batch_observations, optimizer_steps)
        self.measure_s = 0.0
        return {
            **self._statistics.row(),
            **{f"critical_batch/run_average{end}": sums.value for end, sums in self._run_averages.items()},
            "critical_batch/run_average_share": average.share,
            "critical_batch/min_steps": average.min_steps,
            "critical_batch/min_observations": average.min_observations,
            "critical_batch/adaptive_gamma": average.gamma,
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns all sums, plain types."""
        return {
            **self._statistics.state_dict(),
            "at_least": self._at_least.state_dict(),
            "run_average": {end: average.state_dict() for end, average in self._run_averages.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._statistics.load_state_dict(state)
        for end, average in self._run_averages.items():
            average.load_state_dict(state["run_average"][end])
        self._at_least.load_state_dict(state["at_least"])
