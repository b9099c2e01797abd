"""Settings of the noise-scale measurement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseConfig:
    """What is measured while training, and how it is smoothed."""

    enabled: bool = True
    """Measure the gradient noise scale in the first epoch of every iteration."""

    groups: int = 8
    """Most groups of whole environments per batch; the largest divisor of a batch's environments up to this is used."""

    horizon_observations: int = 200_000
    """Observations after which a measurement's weight has fallen to 1/e; 0: equal weights over the whole run."""

    level: float = 0.95
    """Confidence level of the reported interval."""

    shuffled_every: int = 8
    """Every so many iterations one batch is split by shuffled observations instead, for the design effect; 0: never."""

    overhead_budget: float = 0.005
    """Largest share of the time for measuring; probes and splits by loss come as often as it allows. 0: neither."""

    def __post_init__(self) -> None:
        if self.groups < 2:
            raise ValueError(f"noise.groups must be at least 2, got {self.groups}")
        if self.horizon_observations < 0:
            raise ValueError(f"noise.horizon_observations must be zero or positive, got {self.horizon_observations}")
        if self.shuffled_every < 0:
            raise ValueError(f"noise.shuffled_every must be zero or positive, got {self.shuffled_every}")
        if not 0 <= self.overhead_budget < 1:
            raise ValueError(f"noise.overhead_budget must lie from 0 to below 1, got {self.overhead_budget}")
        if not 0 < self.level < 1:
            raise ValueError(f"noise.level must lie between 0 and 1, got {self.level}")
