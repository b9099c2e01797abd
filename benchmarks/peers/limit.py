"""A contender that measures the hardware limit: environments and matrix products alone."""

from __future__ import annotations

from typing import Any, final

from benchmarks.hardware_limit import Limit
from benchmarks.peers.ours import run_of
from benchmarks.peers.settings import Settings
from rlgns.agents.compute.precision import prepare_process

PLAYED_TIMES = 4
"""How many times a trainer's observations are played: without a network they take a fifth of the time."""


@final
class LimitContender:
    """Its observations per second are the limit of `benchmarks.hardware_limit`, measured again in every turn."""

    def __init__(self, settings: Settings) -> None:
        """Builds environments and operands."""
        prepare_process(settings.threads)
        self._limit = Limit(run_of(settings), settings.game, threads=settings.threads)

    def run(self, observations: int) -> dict[str, Any]:
        """Measures; `seconds` is the time of the observations at the limit, and `details` are its parts."""
        found = self._limit.measure(PLAYED_TIMES * observations)
        return {"observations": observations, "seconds": observations / found["limit"], "details": found}

    def close(self) -> None:
        """Stops the emulators."""
        self._limit.close()
