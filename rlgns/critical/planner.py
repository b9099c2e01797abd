r"""What a goal costs at each batch size on given machines, and which batch to use. Pure arithmetic.

    S = S_min (1 + B_crit / B) optimizer steps,   each of them  t_0 + B u / T  seconds

T observations played per second by all machines in use, u = 1 / epochs the share of a step's observations that are
fresh, t_0 the part of a step that takes as long however large the batch is (the wait for the slowest environment, the
exchange of gradients, the update itself). At a fixed T and t_0 = 0 the time is E / T and the smallest batch is always
the fastest: a larger batch saves time only as far as it lets more machines or environments work at once. At a fixed T
the fastest batch is sqrt(B_crit t_0 T / u). Where each machine takes a fixed part of the batch, a larger batch occupies
more machines: time then goes as S and cost as E, the trade-off of the paper.

McCandlish et al. 2018, "An Empirical Model of Large-Batch Training", arXiv:1812.06162, equations 2.11 and 2.12.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlgns.critical.advice import step_ratio
from rlgns.critical.pareto import ParetoFit
from rlgns.formatting import duration, rounded, short, times

COST_FACTOR = 2.0
"""The batch to use is the fastest that costs no more than this times the cheapest: E = 2 E_min at B = B_crit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TradeOff:
    """What is known of one goal. Two of S_min, E_min and B_crit fix the third."""

    min_steps: float
    critical_batch: float
    critical_batch_low: float = math.nan
    critical_batch_high: float = math.nan
    """Interval; NaN where not known."""

    def __post_init__(self) -> None:
        for name in ("min_steps", "critical_batch"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")

    @classmethod
    def from_fit(cls, fit: ParetoFit) -> TradeOff:
        """Returns that of a fit. Raises ValueError where there is none."""
        return cls(
            min_steps=fit.min_steps,
            critical_batch=fit.critical_batch,
            critical_batch_low=fit.critical_batch_low,
            critical_batch_high=fit.critical_batch_high,
        )

    @property
    def min_observations(self) -> float:
        """E_min = S_min B_crit, observations in steps (every use counts)."""
        return self.min_steps * self.critical_batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Machines:
    """What the training runs on."""

    throughput: float | Callable[[float], float]
    """Observations played per second: of one machine, or of all in use as a function of the batch."""
    count: int = 1
    batch_per_machine: float | None = None
    """Observations of a step that one machine takes, so that a batch occupies no more machines than it needs; None: all
    are in use at every batch."""
    price_per_hour: float = 0.0
    """Of one machine, in any currency; 0: cost is in machine hours."""
    step_s: float = 0.0
    """t_0, seconds of an optimizer step that do not shrink with the batch."""
    fresh: float = 1.0
    """u, fresh observations per observation in a step: 1 / epochs."""

    def __post_init__(self) -> None:
        if not callable(self.throughput) and not self.throughput > 0:
            raise ValueError(f"throughput must be positive, got {self.throughput}")
        if self.count < 1 or not 0 < self.fresh <= 1:
            raise ValueError(f"need count >= 1 and 0 < fresh <= 1, got {self.count} and {self.fresh}")
        if self.batch_per_machine is not None and not self.batch_per_machine > 0:
            raise ValueError(f"batch_per_machine must be positive or None, got {self.batch_per_machine}")
        if not (self.price_per_hour >= 0 and self.step_s >= 0):
            raise ValueError(
                f"price_per_hour and step_s must be zero or positive, got {self.price_per_hour} and {self.step_s}"
            )

    def used(self, batch: float) -> int:
        """Returns how many machines a batch occupies."""
        if self.batch_per_machine is None:
            return self.count
        return min(self.count, math.ceil(batch / self.batch_per_machine))

    def observations_per_s(self, batch: float) -> float:
        """Returns T, of all machines in use; a fixed throughput is taken to add up."""
        return self.throughput(batch) if callable(self.throughput) else self.throughput * self.used(batch)


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchPlan:
    """What the goal costs at one batch size."""

    batch: float
    machines: int
    """Machines in use."""
    steps: float
    observations: float
    """Played, each counted once."""
    seconds: float
    machine_hours: float
    cost: float
    """In the price's currency; in machine hours where there is no price."""
    speed_up: float
    """Fewer seconds than at the smallest batch of the plan, as a factor."""
    step_speed_up: float
    """Fewer steps than at the smallest batch: the speed-up if steps took the same time at every batch."""
    step_speed_up_low: float
    """At the lower end of the critical batch's interval; NaN where not known."""
    step_speed_up_high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """All batch sizes, ascending, and the one to use."""

    batches: tuple[BatchPlan, ...]
    fastest: BatchPlan
    cheapest: BatchPlan
    advised: BatchPlan
    """The fastest that costs no more than COST_FACTOR times the cheapest."""
    priced: bool
    """Whether costs are money and not machine hours."""
    best_batch: float
    """sqrt(B_crit t_0 T / u): the fastest of all sizes at the throughput of the fastest here; 0 where t_0 is."""

    def sentence(self, currency: str = "") -> str:
        """Returns the advice as one line for people; `currency` is the price's."""
        chosen, least = self.advised, self.cheapest
        unit = f" {currency}".rstrip() if self.priced else " machine hours"
        head = f"use a batch of {short(chosen.batch)}: {duration(chosen.seconds)}, cost {rounded(chosen.cost)}{unit}"
        if chosen is least:
            return f"{head}, the cheapest; " + (
                "no larger batch is faster here" if self.fastest is chosen else "faster ones cost over twice as much"
            )
        quicker, dearer = times(least.seconds / chosen.seconds), times(chosen.cost / least.cost)
        return f"{head}: {quicker} as fast as the cheapest batch ({short(least.batch)}), at {dearer} its cost"


def plan(trade_off: TradeOff, batches: Sequence[float], machines: Machines) -> TrainingPlan:
    """Returns what the goal costs at each batch size, and which to use.

    Args:
        trade_off: of the goal.
        batches: observations per optimizer step, positive.
        machines: what it runs on.

    Raises:
        ValueError: no batches, or one that is not positive; a throughput that is not.
    """
    sizes = sorted(set(batches))
    if not sizes or not 0 < sizes[0] <= sizes[-1] < math.inf:
        raise ValueError(f"need batch sizes that are positive, got {list(batches)}")
    plans = [_plan_batch(trade_off, batch, sizes[0], machines) for batch in sizes]
    fastest = min(plans, key=lambda option: option.seconds)
    cheapest = min(plans, key=lambda option: option.cost)
    affordable = [option for option in plans if option.cost <= COST_FACTOR * cheapest.cost]
    pace = machines.observations_per_s(fastest.batch) / machines.fresh
    return TrainingPlan(
        batches=tuple(plans),
        fastest=fastest,
        cheapest=cheapest,
        advised=min(affordable, key=lambda option: option.seconds),
        priced=machines.price_per_hour > 0,
        best_batch=math.sqrt(trade_off.critical_batch * machines.step_s * pace),
    )


def _plan_batch(trade_off: TradeOff, batch: float, smallest: float, machines: Machines) -> BatchPlan:
    steps = trade_off.min_steps * (1 + trade_off.critical_batch / batch)
    seconds = _seconds(trade_off, batch, machines)
    hours = machines.used(batch) * seconds / 3600
    ratios = [
        step_ratio(critical, smallest, batch / smallest) if critical >= 0 else math.nan
        for critical in (trade_off.critical_batch, trade_off.critical_batch_low, trade_off.critical_batch_high)
    ]
    return BatchPlan(
        batch=batch,
        machines=machines.used(batch),
        steps=steps,
        observations=steps * batch * machines.fresh,
        seconds=seconds,
        machine_hours=hours,
        cost=hours * (machines.price_per_hour or 1.0),
        speed_up=_seconds(trade_off, smallest, machines) / seconds,
        step_speed_up=1 / ratios[0],
        step_speed_up_low=1 / ratios[1],
        step_speed_up_high=1 / ratios[2],
    )


def _seconds(trade_off: TradeOff, batch: float, machines: Machines) -> float:
    pace = machines.observations_per_s(batch)
    if not pace > 0:
        raise ValueError(f"throughput must be positive at every batch, got {pace} at {batch}")
    steps = trade_off.min_steps * (1 + trade_off.critical_batch / batch)
    return steps * (machines.step_s + batch * machines.fresh / pace)
