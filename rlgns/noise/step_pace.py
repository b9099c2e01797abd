"""Which steps of a training loop are measured: every N-th, or as many as a share of the time pays for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any, final

from rlgns.noise.budget import ProbeBudget


@final
class StepPace:
    r"""Counts steps and, where there is a budget, their seconds.

    A budget is a share f of all time. What a measured step costs is what `spent` says or, without it, the time of its
    block beyond that of the plain step after it. When that is known, `ProbeBudget.wait` says how many more plain steps
    must pass: the first measurement is paid off before the second, and one that took longer than expected delays the
    next. The first steps, whose time includes starting up, are plain.
    """

    def __init__(
        self,
        every: int | None = None,
        overhead: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
        *,
        timed: bool = False,
    ) -> None:
        """Starts with no step taken.

        Args:
            every: Measures every so many steps, the first included; with neither, every step.
            overhead: Largest share of the time for measuring, from 0 (never) to below 1.
            clock: Returns seconds.
            timed: Whether the caller says with `spent` what measuring took. A step that is due stays due until then.

        Raises:
            ValueError: Both given, or a value that is not allowed.
        """
        if every is not None and overhead is not None:
            raise ValueError(f"every and overhead cannot be used together, got every={every} and overhead={overhead}")
        if every is not None and (every != int(every) or every < 1):
            raise ValueError(f"every must be a whole number from 1, got {every}")
        if overhead is not None and not 0 <= overhead < 1:
            raise ValueError(f"overhead must be from 0 to below 1, got {overhead}")
        self._every = 1 if every is None else int(every)
        self._budget = None if overhead is None else ProbeBudget(overhead)
        self._overhead, self._clock = overhead or 0.0, clock
        self._timed, self._spent = timed, math.nan  # seconds of this step, NaN where it was not measured
        # Plain steps before the next measured one; None: no end. A host's second step may start something, too.
        self._wait: int | None = 0 if overhead is None else 1 + timed
        if overhead == 0:
            self._wait = None
        self._began = 0.0  # this step's block
        self._ended: float | None = None  # the block before
        self._measured: tuple[float, float] | None = None  # seconds of the newest measured step and of its block

    @property
    def measures(self) -> bool:
        """Whether this step is measured; between steps, whether the next one is."""
        return self._wait == 0

    @property
    def times_exactly(self) -> bool:
        """Whether this step's seconds decide about the budget, so that the device should be waited for."""
        return self._budget is not None and (self.measures or self._measured is not None)

    @property
    def overhead_fraction(self) -> float:
        """Share of all time so far that went to measuring; NaN without a budget or before the second step."""
        return math.nan if self._budget is None else self._budget.overhead_fraction

    def start(self) -> None:
        """Begins a step; what passed since the last one does not count."""
        self._ended = None
        self.begin()

    def begin(self) -> None:
        """Begins a step's block; what passed since the last one counts as this step's."""
        self._began = self._clock()

    def spent(self, seconds: float) -> None:
        """Says what measuring took in this step, where the caller times it."""
        self._spent = seconds

    def end(self, agree: Callable[[int], int]) -> None:
        """Ends a step's block.

        Args:
            agree: Returns the largest of the numbers that all processes give; called by all after the same step.
        """
        now, measured = self._clock(), self.measures
        block, seconds = now - self._began, now - (self._began if self._ended is None else self._ended)
        self._ended = now
        if self._budget is None:
            self._wait = self._every - 1 if measured else (self._wait or 1) - 1
            return
        if self._timed:
            self._end_timed(seconds, agree)
            return
        if measured:
            self._measured, self._wait = (seconds, block), None
            return
        if self._measured is not None:
            whole, measured_block = self._measured
            self._budget.iteration(seconds=whole, measure_s=0.0, probe_s=max(0.0, measured_block - block))
            self._measured = None
            self._budget.iteration(seconds=seconds, measure_s=0.0, probe_s=None)
            self._wait = agree(self._budget.wait())
            return
        self._budget.iteration(seconds=seconds, measure_s=0.0, probe_s=None)
        if self._wait is not None:
            self._wait -= 1

    def _end_timed(self, seconds: float, agree: Callable[[int], int]) -> None:
        assert self._budget is not None
        spent, self._spent = self._spent, math.nan
        known = not math.isnan(spent)
        self._budget.iteration(seconds=seconds, measure_s=0.0, probe_s=spent if known else None)
        if known:
            self._wait = agree(self._budget.wait())
        elif self._wait:
            self._wait -= 1

    def state_dict(self) -> dict[str, Any]:
        """Returns the times so far and the plain steps before the next measured one, plain numbers."""
        return {"wait": self._wait, "budget": None if self._budget is None else self._budget.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned; of another kind of pace nothing is kept."""
        if (
            "budget" not in state
            or (state["budget"] is None) != (self._budget is None)
            or (self._overhead == 0 and self._budget is not None)
        ):
            return
        self._measured, self._ended = None, None
        if self._budget is not None:
            self._budget.load_state_dict(dict(state["budget"]))
            self._wait = 1 if state["wait"] is None else int(state["wait"])
        else:
            self._wait = min(int(state["wait"] or 0), self._every - 1)
