"""A team of threads that share one step's work, each computing on one core by itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, final

import torch

PARTS = 8
"""Long vectors are cut into so many parts, whatever the team's size: so sums over them are the same to the last bit."""

WHOLE = 2**14
"""Vectors of fewer elements are not cut."""

T = TypeVar("T")
R = TypeVar("R")


@final
class Team:
    """Runs jobs side by side in Python threads whose torch operations are single-threaded.

    A small network spends more time at the barriers of its own parallel operations than in them, and where another
    process needs a core, every barrier waits for it (see docs/performance.md). torch releases Python's lock inside
    its operations, so the threads run truly side by side.
    """

    def __init__(self, size: int) -> None:
        """Starts `size` threads; one means that the caller does the work."""
        self.size = size
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="team", initializer=_alone) if size > 1 else None

    def map(self, job: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Returns job(item) of each item, in order. An exception in a job is raised here once all have ended."""
        if self._pool is None or len(items) == 1:
            return [job(item) for item in items]
        futures = [self._pool.submit(job, item) for item in items]
        for future in futures:
            future.exception()
        return [future.result() for future in futures]

    def map_parts(self, job: Callable[[range], R]) -> list[R]:
        """Returns job(parts), one per thread: each takes some of the PARTS parts, numbers that follow one another."""
        workers = min(self.size, PARTS)
        edges = [PARTS * worker // workers for worker in range(workers + 1)]
        return self.map(job, [range(*pair) for pair in itertools.pairwise(edges)])

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def cuts(elements: int, number: int, parts: range) -> list[slice]:
    """Which elements of a vector of that number belong to some parts: shares of a long one, all or none of others."""
    if elements < WHOLE:
        return [slice(None)] if number % PARTS in parts else []
    return [slice(elements * part // PARTS, elements * (part + 1) // PARTS) for part in parts]


def _alone() -> None:
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
