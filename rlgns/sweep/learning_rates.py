"""Learning rates to try at a batch size: a rule for the centre, factors of two around it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningRateRule:
    r"""Centres a batch's learning rates on the rule of the paper.

        centre(B) = eps* / (1 + B*/B)^alpha

    alpha is 1 for SGD and between 0.5 and 1 for Adam and RMSProp.

    McCandlish et al. 2018, "An Empirical Model of Large-Batch Training", arXiv:1812.06162, eq. 2.6 and appendix A.
    """

    largest: float
    """eps*, the limit at large batches."""
    batch: float
    """B*, observations."""
    exponent: float
    """alpha."""
    count: int
    """Learning rates at the start."""
    widenings: int
    """Most learning rates added on either side."""

    @property
    def initial_steps(self) -> range:
        """Grid steps of the learning rates at the start; step k is 2^k times the centre.

        An even count has one more step above the centre than below it.
        """
        low = -((self.count - 1) // 2)
        return range(low, low + self.count)

    def learning_rate(self, batch: int, step: int) -> float:
        """Returns the learning rate at a grid step, to three digits, as it stands in a run's name."""
        centre = self.largest / (1 + self.batch / batch) ** self.exponent
        return float(f"{centre * 2.0**step:.3g}")
