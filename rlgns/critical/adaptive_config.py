"""Settings of the adaptive batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

LARGEST_FACTOR = 16
"""Most environments in use as a multiple of `env.num_envs`, unless `adaptive.largest_envs` is set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveConfig:
    """Bounds of the batch where `agent.batch` is `adaptive`; ignored where it is `fixed`."""

    smallest_envs: int = 0
    """Fewest environments in use: env.num_envs or a number that halving it reaches; 0: env.num_envs."""

    largest_envs: int = 0
    """Most environments in use: env.num_envs or a number that doubling it reaches; 0: 16 times env.num_envs."""

    exchange_rate: float = 0.0
    """r in B = sqrt(r N), N = `critical_batch/now`: observations that saving one optimizer step is worth, each counted
    `agent.epochs` times; 0: `critical_batch/predicted`, the run's E_min / S_min so far."""

    def __post_init__(self) -> None:
        for name in ("smallest_envs", "largest_envs", "exchange_rate"):
            if getattr(self, name) < 0:
                raise ValueError(f"adaptive.{name} must be zero or positive, got {getattr(self, name)}")

    def tiers(self, num_envs: int) -> tuple[int, ...]:
        """Returns the numbers of environments allowed, ascending, each twice the one before.

        Args:
            num_envs: `env.num_envs`, one of them.

        Raises:
            ValueError: Bounds that do not enclose it, are not its doublings or halves, or leave no choice.
        """
        smallest, largest = self.smallest_envs or num_envs, self.largest_envs or LARGEST_FACTOR * num_envs
        if not smallest <= num_envs <= largest:
            raise ValueError(
                f"adaptive.smallest_envs and adaptive.largest_envs must enclose env.num_envs {num_envs}, "
                f"got {smallest} and {largest}"
            )
        for name, bound in (("smallest_envs", smallest), ("largest_envs", largest)):
            more, fewer = max(num_envs, bound), min(num_envs, bound)
            if more % fewer or (more // fewer).bit_count() != 1:
                raise ValueError(
                    f"adaptive.{name} must be env.num_envs {num_envs} halved or doubled repeatedly, got {bound} "
                    f"(nearest: {_near_doubling(bound, num_envs)})"
                )
        if smallest == largest:
            raise ValueError(
                f"agent.batch adaptive: adaptive.smallest_envs and adaptive.largest_envs are both {num_envs}, "
                "which leaves no choice"
            )
        return tuple(smallest << k for k in range((largest // smallest).bit_length()))


def _near_doubling(value: int, number: int) -> int:
    """Nearest to `value` (by ratio) among `number`, its doublings and its halves that are whole numbers."""
    near = [number << k for k in range(max(1, value.bit_length()))]
    while number % 2 == 0:
        number //= 2
        near.append(number)
    return min(near, key=lambda other: abs(math.log(other / value)))
