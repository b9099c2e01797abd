"""Settings of the section `sweep`, and a resolved sweep."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from rlgns.config.schema import Config
from rlgns.sweep.learning_rates import LearningRateRule

AXES = ("envs", "steps")


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepConfig:
    """The grid of trials. Games and budget are `run.games` and `run.observations`."""

    batches: tuple[int, ...] = ()
    """Observations per optimizer step: the smallest times powers of two."""

    axis: str = "envs"
    """What sets the batch size: `envs`, the number of environments (the paper's), or `steps`, the rollout length."""

    seeds: tuple[int, ...] = (0,)
    """One trial per seed, at every batch size and learning rate."""

    goals: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Score goals by game, or one list for all games; where left out, the paper's goals of each game."""

    learning_rate: float = 1e-3
    """eps* of the rule eps*/(1 + B*/B)^alpha that centres a batch's learning rates: the limit at large batches."""

    learning_rate_batch: float = 256.0
    """B* of the rule, observations: the batch at which the learning rate begins to level off."""

    learning_rate_exponent: float = 0.5
    """alpha of the rule: 1 for SGD, 0.5 to 1 for Adam and RMSProp."""

    learning_rates: int = 3
    """Learning rates per batch size at the start, a factor of 2 apart."""

    widenings: int = 2
    """Most learning rates added on either side while the best is on the edge; 0: none."""

    parallel: int = 0
    """Trials that run at once; 0: one per core; with GPUs one for every four cores, at most four per GPU."""

    price: float = 0.0
    """Money per core and hour, in any currency; 0: costs are given in core-hours only."""

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            raise ValueError(f"sweep.axis must be one of {', '.join(AXES)}; got {self.axis!r}")
        for name in ("batches", "seeds"):
            values = getattr(self, name)
            if not values:
                raise ValueError(f"sweep.{name} must name at least one")
            if len(set(values)) < len(values):
                raise ValueError(f"sweep.{name} must name each once, got {', '.join(map(str, values))}")
        if not all(0 <= seed < 2**31 for seed in self.seeds):
            raise ValueError(f"sweep.seeds must lie between 0 and {2**31 - 1}, got {', '.join(map(str, self.seeds))}")
        for name in ("learning_rate", "learning_rates"):
            if getattr(self, name) <= 0:
                raise ValueError(f"sweep.{name} must be positive, got {getattr(self, name)}")
        for name in ("learning_rate_batch", "learning_rate_exponent", "widenings", "parallel", "price"):
            if getattr(self, name) < 0:
                raise ValueError(f"sweep.{name} must be zero or positive, got {getattr(self, name)}")
        self._check_batches()

    def _check_batches(self) -> None:
        smallest = min(self.batches)
        if smallest <= 0:
            raise ValueError(f"sweep.batches must all be positive, got {smallest}")
        powers = [smallest << k for k in range((max(self.batches) // smallest).bit_length() + 1)]
        for batch in self.batches:
            if batch not in powers:
                near = min(powers, key=lambda size: abs(size - batch))
                raise ValueError(
                    f"sweep.batches must be the smallest ({smallest}) times powers of 2; got {batch} (nearest: {near})"
                )

    @property
    def learning_rate_rule(self) -> LearningRateRule:
        """Which learning rates are tried at each batch size."""
        return LearningRateRule(
            largest=self.learning_rate,
            batch=self.learning_rate_batch,
            exponent=self.learning_rate_exponent,
            count=self.learning_rates,
            widenings=self.widenings,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """A resolved sweep."""

    settings: SweepConfig
    """Its goals name every game."""
    configs: Mapping[int, Config]
    """By batch size: the configuration that its trials share; game, seed and learning rate are theirs alone."""

    @property
    def base(self) -> Config:
        """The configuration at the smallest batch."""
        return self.configs[min(self.configs)]

    def config(self, *, game: str, batch: int, learning_rate: float, seed: int) -> Config:
        """Returns the configuration of one trial."""
        config = self.configs[batch]
        return dataclasses.replace(
            config,
            run=dataclasses.replace(config.run, games=(game,), seed=seed),
            agent=dataclasses.replace(config.agent, learning_rate=learning_rate),
        )
