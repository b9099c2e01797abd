"""Which steps of a run have a learning rate that is as tuned: not yet annealed below half of its highest."""

from __future__ import annotations

import math
from typing import final

TUNED_SHARE = 0.5
"""Least learning rate of a step that counts, relative to the run's highest."""


@final
class TunedRate:
    """Compares each learning rate with the run's highest so far.

    An adaptive batch multiplies the rate by sqrt(batch), which is no annealing: such rates are compared over
    sqrt(batch). Other trainers' rates do not follow the batch, which may be small at the end of an epoch: they are
    compared as they are.
    """

    def __init__(self, *, follows_batch: bool = True) -> None:
        """Starts a run. `follows_batch`: whether rates are compared over sqrt(batch); with one batch it is the same."""
        self._follows_batch = follows_batch
        self.highest = 0.0
        """As compared; 0 before the first known rate."""

    def update(self, learning_rate: float | None, batch: float) -> bool:
        """Adds the learning rate of the newest steps, at one batch; returns whether they count.

        A rate that is None or NaN is not known and counts.
        """
        if learning_rate is None:
            return True
        rate = learning_rate / math.sqrt(batch) if self._follows_batch else learning_rate
        self.highest = max(self.highest, rate)  # NaN does not change it
        return not rate < TUNED_SHARE * self.highest
