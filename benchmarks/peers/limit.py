"""What the machine could do at most: environments and matrix products, measured where the others train."""

from __future__ import annotations

from typing import Any, final

from benchmarks.floors import Limit
from benchmarks.peers.ours import run_of
from benchmarks.peers.settings import Settings
from rlgns.agents.compute.precision import prepare_process

PLAYED_TIMES = 4
"""Times as many observations are played as a trainer's turn has: without a network they take a fifth of the time."""


@final
class LimitContender:
    """Its observations per second are the limit of `benchmarks.floors`, measured anew in every turn."""

    def __init__(self, settings: Settings) -> None:
        """Builds environments and operands."""
        prepare_process(settings.threads)
        self._limit = Limit(run_of(settings), settings.game, threads=settings.threads)

    def run(self, observations: int) -> dict[str, Any]:
        """Measures; `seconds` is what the observations would take at the limit, and `details` what that is made of."""
        found = self._limit.measure(PLAYED_TIMES * observations)
        return {"observations": observations, "seconds": observations / found["limit"], "details": found}

    def close(self) -> None:
        """Stops the emulators."""
        self._limit.close()
