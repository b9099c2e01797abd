"""When an adapter measures a rollout: as often as a share of the host's time allows. Steps have `StepPace`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, final

from rlgns.noise.budget import ProbeBudget


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
