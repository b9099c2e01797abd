"""Decayed sums of several quantities over a stream of measurements, with blocks that show how uncertain they are.

Measurement i has the weight n_i exp(-(N_now - N_i) / H): its observations, decayed by the observations since, with the
horizon H. All quantities share it, so a ratio of sums compares like with like. Beside the sums over everything, the
recent past is kept in at most 64 blocks: enough to see scatter and drift, small enough to save with a checkpoint.

A block starts as one measurement. When 64 are full, neighbours merge in pairs and blocks become twice as long, until
a block spans H / 16 observations; from then on the oldest is dropped, whose weight is below exp(-4) by then.
Without a horizon blocks keep doubling.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BLOCKS = 64
BLOCKS_PER_HORIZON = 16


class BlockSums:
    """Decayed sums of vectors, as a whole and by block.

    Values may be arrays of any shape, the same each time: streams that share their weights, e.g. the repetitions of a
    simulation, can be one array.
    """

    def __init__(self, horizon_observations: float | None) -> None:
        """Starts empty; `horizon_observations` None: plain sums over everything."""
        if horizon_observations is not None and not 0 < horizon_observations < math.inf:
            raise ValueError(f"horizon_observations must be positive or None, got {horizon_observations}")
        self.horizon = horizon_observations
        self.weight = 0.0
        self.total: NDArray[np.float64] | None = None
        # One entry per block, oldest first. Weights and sums of values are decayed up to the block's own end.
        self._observations: list[float] = []
        self._weights: list[float] = []
        self._values: list[NDArray[np.float64]] = []
        self._block_observations = 0.0

    def update(self, value: NDArray[np.float64], observations: float) -> bool:
        """Adds one measurement made of `observations` observations; returns whether it began a block."""
        decay = self._decay(observations)
        contribution = value * observations
        self.weight = self.weight * decay + observations
        self.total = contribution if self.total is None else self.total * decay + contribution
        if self._observations and self._observations[-1] + observations <= self._block_observations:
            self._observations[-1] += observations
            self._weights[-1] = self._weights[-1] * decay + observations
            self._values[-1] = self._values[-1] * decay + contribution
            return False
        if len(self._observations) == MAX_BLOCKS:
            self._make_room()
        self._observations.append(float(observations))
        self._weights.append(float(observations))
        self._values.append(contribution)
        return True

    def clear(self) -> None:
        """Forgets everything but the horizon."""
        self.weight, self.total, self._block_observations = 0.0, None, 0.0
        self._observations, self._weights, self._values = [], [], []

    def mean(self) -> NDArray[np.float64] | None:
        """Returns the weighted mean of all measurements; None before the first."""
        return None if self.total is None else self.total / self.weight

    def blocks(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Returns the blocks as of now, oldest first.

        Returns:
            Observations in each block [blocks]; its weight in the sums [blocks]; its mean [blocks, ...value].
        """
        observations = np.array(self._observations)
        weights = np.array(self._weights)
        means = np.stack(self._values) / weights.reshape(-1, *[1] * self._values[0].ndim)
        since = observations[::-1].cumsum()[::-1] - observations
        return observations, weights * np.array([self._decay(s) for s in since]), means

    def __len__(self) -> int:
        """Number of blocks held."""
        return len(self._observations)

    def state_dict(self) -> dict[str, Any]:
        """Returns everything, as plain Python numbers and lists that survive JSON exactly."""
        return {
            "weight": self.weight,
            "total": None if self.total is None else self.total.tolist(),
            "observations": list(self._observations),
            "weights": list(self._weights),
            "values": [value.tolist() for value in self._values],
            "block_observations": self._block_observations,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned; the horizon stays the one given at construction."""
        self.weight = float(state["weight"])
        self.total = None if state["total"] is None else np.array(state["total"], dtype=np.float64)
        self._observations = [float(x) for x in state["observations"]]
        self._weights = [float(x) for x in state["weights"]]
        self._values = [np.array(x, dtype=np.float64) for x in state["values"]]
        self._block_observations = float(state["block_observations"])

    def _decay(self, observations: float) -> float:
        return 1.0 if self.horizon is None else math.exp(-observations / self.horizon)

    def _make_room(self) -> None:
        """Merges neighbours in pairs, or drops the oldest block where blocks are long enough."""
        mean_observations = sum(self._observations) / MAX_BLOCKS
        if self.horizon is not None and mean_observations * BLOCKS_PER_HORIZON >= self.horizon:
            del self._observations[0], self._weights[0], self._values[0]
            return
        observations, weights, values = [], [], []
        for i in range(0, MAX_BLOCKS, 2):
            decay = self._decay(self._observations[i + 1])
            observations.append(self._observations[i] + self._observations[i + 1])
            weights.append(self._weights[i] * decay + self._weights[i + 1])
            values.append(self._values[i] * decay + self._values[i + 1])
        self._observations, self._weights, self._values = observations, weights, values
        self._block_observations = 2 * mean_observations
