"""When an adapter measures: as often as a share of the host's time allows."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, final

from rlgns.noise.budget import SMOOTHING, ProbeBudget


@final
class Pace:
    """The budget of one run. An iteration ends where a rollout is complete and has been measured or not."""

    def __init__(self, overhead: float, clock: Callable[[], float] = time.perf_counter) -> None:
        """Starts with nothing spent.

        Args:
            overhead: Largest share of the time for measuring; 0: never measure.
            clock: Returns seconds.

        Raises:
            ValueError: `overhead` outside [0, 1).
        """
        self._budget, self._clock = ProbeBudget(overhead), clock
        self._began: float | None = None  # the iteration

    @property
    def overhead_fraction(self) -> float:
        """Share of all time so far that went to measuring; NaN before the first iteration."""
        return self._budget.overhead_fraction

    def start(self) -> None:
        """Begins an iteration; what passed since the last one does not count."""
        self._began = self._clock()

    def due(self) -> bool:
        """Returns whether this rollout is to be measured; not the first, whose time includes starting up."""
        return self._budget.due()

    def end(self, measure: Callable[[], None] | None) -> None:
        """Ends an iteration, after calling `measure` if given."""
        before = self._clock()
        if measure is not None:
            measure()
        after = self._clock()
        if self._began is not None:
            spent = None if measure is None else after - before
            self._budget.iteration(seconds=after - self._began, measure_s=0.0, probe_s=spent)
        self._began = after

    def state_dict(self) -> dict[str, Any]:
        """Returns the times so far, plain numbers."""
        return self._budget.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._budget.load_state_dict(dict(state))


@final
class StepBudget:
    """Which optimizer steps are measured: each is paid off by the steps up to the next. The first is the third."""

    def __init__(self, overhead: float, clock: Callable[[], float] = time.perf_counter) -> None:
        """Starts with nothing spent; arguments and error as in `Pace`."""
        if not 0 <= overhead < 1:
            raise ValueError(f"overhead must be from 0 to below 1, got {overhead}")
        self._overhead, self._clock = overhead, clock
        self._began: float | None = None  # the step
        self._times = {"elapsed_s": 0.0, "overhead_s": 0.0, "step_s": 0.0, "steps": 0.0, "next": 2.0}

    @property
    def overhead_fraction(self) -> float:
        """Share of all time so far that went to measuring; NaN before the first step."""
        return self._times["overhead_s"] / self._times["elapsed_s"] if self._times["elapsed_s"] > 0 else math.nan

    def start(self) -> None:
        """Begins a step; what passed since the last one does not count."""
        self._began = self._clock()

    def due(self) -> bool:
        """Returns whether the step that has begun is to be measured."""
        return self._overhead > 0 and self._times["steps"] >= self._times["next"]

    def every(self, spent_s: float) -> int:
        """Returns the steps from a measured one to the next if measuring takes `spent_s`."""
        budget = self._overhead * self._times["step_s"]
        return max(1, math.ceil(spent_s * (1 - self._overhead) / budget)) if budget > 0 else 1

    def spend(self, measure: Callable[[Callable[[], int]], int]) -> tuple[float, int]:
        """Measures; returns the seconds it took and the steps to the next one, for `end`.

        Args:
            measure: Gets a function that returns `every` of the seconds so far; returns what all processes agreed on.
        """
        began = self._clock()
        every = measure(lambda: self.every(self._clock() - began))
        return self._clock() - began, every

    def end(self, spent_s: float, every: int | None) -> None:
        """Ends a step and begins the next.

        Args:
            spent_s: Of its time, for measuring.
            every: Steps until the next measured one; None: this one was not measured.
        """
        now, times = self._clock(), self._times
        if self._began is not None:
            seconds = now - self._began
            times["elapsed_s"] += seconds
            times["overhead_s"] += spent_s
            # The first step also starts what the host needs: the second replaces its time.
            weight = 1.0 if times["steps"] <= 1 else SMOOTHING
            times["step_s"] += weight * (seconds - spent_s - times["step_s"])
        if every is not None:
            times["next"] = times["steps"] + every
        times["steps"] += 1
        self._began = now

    def state_dict(self) -> dict[str, Any]:
        """Returns the times so far, plain numbers."""
        return dict(self._times)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._times = {name: float(state[name]) for name in self._times}
