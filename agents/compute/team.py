"""A team of threads that share one step's work, each computing on one core."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, final

import torch

PARTS = 8
"""Parts of a long vector, whatever the team's size, so that no bit of a sum over them depends on it."""

WHOLE = 2**14
"""Vectors of fewer elements than this are not cut."""

T = TypeVar("T")
R = TypeVar("R")


@final
class Team:
    """Runs jobs side by side in Python threads whose torch operations are single-threaded.

    A small network spends more time at the barriers of torch's parallel operations than in them, and where another
    process needs a core, every barrier waits for it (docs/performance.md). torch releases Python's lock inside its
    operations, so the threads do run in parallel.
    """

    def __init__(self, size: int) -> None:
        """Starts `size` threads; with a size of 1 the caller does the work."""
        self.size = size
        self._pool = ThreadPoolExecutor(size, thread_name_prefix="team", initializer=_alone) if size > 1 else None

    def map(self, job: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Returns job(item) of each item, in order. Raises a job's exception once all jobs have ended."""
        if self._pool is None or len(items) == 1:
            return [job(item) for item in items]
        futures = [self._pool.submit(job, item) for item in items]
        for future in futures:
            future.exception()
        return [future.result() for future in futures]

    def map_parts(self, job: Callable[[range], R]) -> list[R]:
        """Returns job(parts) of each thread, in order; each gets a range of the PARTS parts."""
        workers = min(self.size, PARTS)
        edges = [PARTS * worker // workers for worker in range(workers + 1)]
        return self.map(job, [range(*pair) for pair in itertools.pairwise(edges)])

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def cuts(elements: int, number: int, parts: range) -> list[slice]:
    """Returns which elements of vector `number` belong to those parts: slices of a long one, all or none of others."""
    if elements < WHOLE:
        return [slice(None)] if number % PARTS in parts else []
    return [slice(elements * part // PARTS, elements * (part + 1) // PARTS) for part in parts]


def _alone() -> None:
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
