"""What a statistic of the noise is: it takes in every measured batch and adds its entries to the metrics row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rlgns.metric_key import Key
from rlgns.noise.moments import Moments


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredBatch:
    """The groups of one batch, as a statistic gets them."""

    products: NDArray[np.float64]
    """[groups, groups], inner products of the groups' mean gradients."""

    moments: Moments
    """Their moments, as measured; NaN where a gradient was not finite."""

    relative: Moments | None
    """The moments divided by the gradients' size before this batch (`GradientSize`), so that sums over batches do not
    depend on how gradients grow or shrink. None where `restart` was called just before: no size is known."""

    shuffled: bool
    """Whether the groups are of observations drawn at random, not of whole environments."""

    step: int
    """Optimizer steps that were taken before on the same rollouts; 0: at the parameters that played them."""


class Statistic(ABC):
    """A quantity that is kept over a whole run. `rlgns.noise.live_statistics` lists those that training keeps."""

    keys: ClassVar[tuple[Key, ...]]
    """Keys of the entries that `row` returns, in its order."""

    @abstractmethod
    def update(self, batch: MeasuredBatch) -> None:
        """Adds one batch; skips it where it is of no use (the other kind of split, moments that are not finite)."""

    @abstractmethod
    def restart(self) -> None:
        """Forgets all sums: the gradients' size has jumped, and those of before are in units of another size."""

    @abstractmethod
    def row(self, *, refresh: bool = True) -> dict[str, Any]:
        """Ends an iteration: returns its entries of the metrics row; NaN where undefined.

        Args:
            refresh: Without it, entries that take long to compute may be those of the last row.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Returns everything measured, as plain Python numbers and lists."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
