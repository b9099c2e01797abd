"""The statistics that training keeps of measured batches, from inner products to the entries of a metrics row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from rlgns.metric_key import Key
from rlgns.noise.at_rollout import AtRolloutStatistic
from rlgns.noise.by_step import ByStepStatistic
from rlgns.noise.config import NoiseConfig
from rlgns.noise.design_effect import DesignEffectStatistic
from rlgns.noise.gradient_size import GradientSize
from rlgns.noise.moments import moments_from_gram
from rlgns.noise.noise_scale import NoiseScaleStatistic
from rlgns.noise.statistic import MeasuredBatch, Statistic
from rlgns.noise.tracker import NoiseScaleEstimate

OTHER_STATES = {"size", "run_average", "at_least"}
"""Names in a checkpoint that are taken: gradient size (below), run averages (`rlgns.engine.ride_along`)."""


@final
class LiveStatistics:
    """Gives every batch to every statistic, in units of the gradients' size, and collects what they report."""

    def __init__(self, config: NoiseConfig, *, minibatches: int) -> None:
        """Starts with nothing measured; `minibatches`: optimizer steps per epoch."""
        longest, follows = config.horizon_observations or None, config.horizon_follows_run
        horizon = config.steady_horizon_observations or None
        # Only one batch in (shuffled_every * minibatches) is shuffled. Its horizon counts shuffled observations alone,
        # so it is shorter by that factor: both then look back over the same stretch of training.
        shuffled_horizon = horizon and horizon / max(1, config.shuffled_every * minibatches)
        # One batch in `minibatches` is an epoch's first.
        longest_first = longest and longest / minibatches
        self._size = GradientSize()
        self._noise_scale = NoiseScaleStatistic(self._size, longest, config.level, follows_run=follows)
        self._design_effect = DesignEffectStatistic(horizon, shuffled_horizon)
        # Add a statistic here. Its name is the name of its state in a checkpoint, and no name of OTHER_STATES.
        self._statistics: dict[str, Statistic] = {
            "tracker": self._noise_scale,
            "at_rollout": AtRolloutStatistic(longest_first, config.level, follows_run=follows),
            "design_effect": self._design_effect,
            "by_step": ByStepStatistic(self._size, horizon),
        }
        assert not self._statistics.keys() & OTHER_STATES

    @property
    def keys(self) -> tuple[Key, ...]:
        """Keys of the entries that `row` returns, in its order."""
        keys = [key for statistic in self._statistics.values() for key in statistic.keys]
        return tuple(sorted(keys, key=lambda key: key.kind is list))

    def update(self, products: NDArray[np.float64], observations_per_group: int, *, shuffled: bool, step: int) -> None:
        """Adds one batch.

        Args:
            products: [groups, groups], inner products of the groups' mean gradients.
            observations_per_group: observations behind each.
            shuffled: whether the groups are of observations drawn at random, not of whole environments.
            step: optimizer steps that were taken before on the same rollouts; 0: at the parameters that played.
        """
        moments = moments_from_gram(products, observations_per_group)
        relative = self._size.divide(moments)
        if relative is None:
            for statistic in self._statistics.values():
                statistic.restart()
        batch = MeasuredBatch(products=products, moments=moments, relative=relative, shuffled=shuffled, step=step)
        for statistic in self._statistics.values():
            statistic.update(batch)

    def row(self, *, refresh: bool = True) -> dict[str, Any]:
        """Ends an iteration: returns the entries of all statistics, numbers before lists.

        Args:
            refresh: Without it, smoothed noise scales and their intervals are those of the last row.
        """
        rows = [statistic.row(refresh=refresh) for statistic in self._statistics.values()]
        entries = [entry for row in rows for entry in row.items()]
        return dict(sorted(entries, key=lambda entry: isinstance(entry[1], list)))

    def estimate(self) -> NoiseScaleEstimate:
        """Returns the smoothed noise scale with its interval."""
        return self._noise_scale.tracker.estimate()

    @property
    def divisor(self) -> float | None:
        """The squared gradient size that the newest batch was divided by; None before the second batch."""
        return self._size.divisor

    @property
    def design_effect(self) -> float:
        """Smoothed design effect; NaN before a batch was split by shuffled observations."""
        return self._design_effect.tracker.estimate()

    def state_dict(self) -> dict[str, Any]:
        """Returns all sums, as plain Python numbers and lists."""
        return {"size": self._size.state_dict()} | {
            name: statistic.state_dict() for name, statistic in self._statistics.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned; a statistic that the state does not have starts empty."""
        self._size.load_state_dict(state["size"])
        for name, statistic in self._statistics.items():
            if name in state:
                statistic.load_state_dict(state[name])
