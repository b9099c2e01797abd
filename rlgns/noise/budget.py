"""How often the probe may run so that measuring stays within a share of the training time."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, final

SMOOTHING = 0.25
"""Weight of the newest measurement in the smoothed costs."""


@dataclass(slots=True)
class _Spent:
    """Times so far."""

    elapsed_s: float = 0.0
    """All iterations together."""
    overhead_s: float = 0.0
    """The part of it that went to probes and other measuring."""
    probe_iterations: float = 0.0
    """Smoothed cost of a probe in units of an iteration, which does not change when the machine slows down."""
    iteration_s: float = 0.0
    """Smoothed length of an iteration without a probe."""
    measure_s: float = 0.0
    """Smoothed cost of what is measured in every iteration."""
    iterations: int = 0
    probes: int = 0
    since: int = 0
    """Iterations since the last probe."""


@final
class ProbeBudget:
    r"""Decides when to probe, from measured seconds.

    The budget is a share f of the time. An iteration takes t, of which every iteration spends m on measuring; a probe
    adds c. A probe in every k-th iteration stays within f if k m + c <= f (k t + c):

        k = ceil(c (1 - f) / (f t - m))

    The first probe runs in the second iteration, to learn its cost. From then on a probe is due once k iterations have
    passed and all time spent on measuring, this probe included, stays within f of all time. So the first probe is paid
    off before the second, and a probe that took longer than expected delays the next.
    """

    def __init__(self, fraction: float) -> None:
        """Starts with nothing spent; `fraction`: f, 0 for no probes. Raises ValueError outside [0, 1)."""
        if not 0 <= fraction < 1:
            raise ValueError(f"the share of time must be from 0 to below 1, got {fraction}")
        self._fraction = fraction
        self._spent = _Spent()

    @property
    def every(self) -> int | None:
        """k, iterations from one probe to the next; None before the first or where the budget allows none."""
        spent, f = self._spent, self._fraction
        left = f * spent.iteration_s - spent.measure_s
        if not spent.probes or left <= 0:
            return None
        return max(1, math.ceil(self._probe_s * (1 - f) / left))

    @property
    def per_iteration_s(self) -> float:
        """Seconds of a probe, spread over the iterations from one to the next; 0 where none can follow."""
        return self._probe_s / self.every if self.every else 0.0

    @property
    def _probe_s(self) -> float:
        return self._spent.probe_iterations * self._spent.iteration_s

    @property
    def overhead_fraction(self) -> float:
        """Share of all time so far that went to measuring; NaN before the first iteration."""
        spent = self._spent
        return spent.overhead_s / spent.elapsed_s if spent.elapsed_s > 0 else math.nan

    def due(self) -> bool:
        """Returns whether the next iteration should have a probe."""
        spent = self._spent
        if not spent.probes:
            return self._fraction > 0 and spent.iterations >= 1
        every = self.every
        after_s = spent.elapsed_s + spent.iteration_s + self._probe_s
        affordable = spent.overhead_s + spent.measure_s + self._probe_s <= self._fraction * after_s
        return every is not None and spent.since >= every and affordable

    def wait(self) -> int:
        """Returns after how many more iterations a probe is due, after a first one, if all take as long as before."""
        spent, f = self._spent, self._fraction
        left = f * spent.iteration_s - spent.measure_s
        if left <= 0 or self.every is None:
            return 0
        unpaid = spent.overhead_s + self._probe_s - f * (spent.elapsed_s + self._probe_s)
        return max(0, self.every - spent.since, math.ceil(unpaid / left) - 1)

    def iteration(self, *, seconds: float, measure_s: float, probe_s: float | None) -> None:
        """Records an iteration's time in all, measuring included; `probe_s` None: it had no probe."""
        spent = self._spent
        spent.elapsed_s += seconds
        spent.overhead_s += measure_s + (probe_s or 0.0)
        # The first iteration also starts environments: the second replaces its times.
        spent.iteration_s = _smoothed(spent.iteration_s, seconds - (probe_s or 0.0), first=spent.iterations <= 1)
        spent.measure_s = _smoothed(spent.measure_s, measure_s, first=spent.iterations <= 1)
        spent.iterations += 1
        spent.since += 1
        if probe_s is not None:
            cost = probe_s / spent.iteration_s if spent.iteration_s > 0 else 0.0
            spent.probe_iterations = _smoothed(spent.probe_iterations, cost, first=not spent.probes)
            spent.probes += 1
            spent.since = 1

    def state_dict(self) -> dict[str, Any]:
        """Returns the times so far, plain numbers."""
        return asdict(self._spent)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned; the share stays the one given at construction."""
        self._spent = _Spent(**{field.name: state[field.name] for field in fields(_Spent)})


def _smoothed(before: float, new: float, *, first: bool) -> float:
    return new if first else before + SMOOTHING * (new - before)
