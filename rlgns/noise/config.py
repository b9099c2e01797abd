"""Settings of the noise-scale measurement."""

from __future__ import annotations

from dataclasses import dataclass

STEADY_HORIZON_OBSERVATIONS = 200_000
"""Longest horizon of what does not follow the run: design effect, moments by step, the views' dimensions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseConfig:
    """What is measured while training, and how it is smoothed."""

    enabled: bool = True
    """Measure the gradient noise scale in the first epoch of every iteration."""

    groups: int = 8
    """Most groups of whole environments per batch; the largest divisor of a batch's environments up to this is used."""

    horizon_observations: int = 1_000_000
    """Longest horizon: observations after which a measurement's weight has fallen to 1/e. 0: no limit."""

    horizon_follows_run: bool = True
    """Look back only as far as the drift of the noise scale allows (`noise/horizon_observations`). false: always look
    back `noise.horizon_observations`."""

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

    @property
    def steady_horizon_observations(self) -> int:
        """The horizon of what does not follow the run; 0: equal weights over the whole run."""
        return min(self.horizon_observations, STEADY_HORIZON_OBSERVATIONS)
