"""Settings of the adaptive batch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveConfig:
    """How far the batch goes where `agent.batch` is `adaptive`; without meaning where it is `fixed`."""

    smallest_envs: int = 0
    """Fewest environments in use: env.num_envs, or that halved as often as wanted; 0: env.num_envs."""

    largest_envs: int = 0
    """Most environments in use: env.num_envs doubled as often as wanted; 0: 16 times env.num_envs."""

    exchange_rate: float = 0.0
    """r in B = sqrt(r B_noise): observations that one optimizer step less is worth; 0: the run's average noise scale so
    far, which is its E_min / S_min."""

    def __post_init__(self) -> None:
        for name in ("smallest_envs", "largest_envs", "exchange_rate"):
            if getattr(self, name) < 0:
                raise ValueError(f"adaptive.{name} must be zero or positive, got {getattr(self, name)}")
