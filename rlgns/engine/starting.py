"""How many environments of a run have started, from its runners' processes to the driver's, through Ray's own store."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import final

import ray
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_list, _internal_kv_put

LOOK_EVERY_S = 1.0
"""Seconds between two looks at the store, each a call or two per starting run."""

NAMESPACE = "rlgns"


@final
class StartedCount:
    """Writes how many environments of one runner have started. Threads may call it at once.

    Args:
        run: The run's key.
        worker_index: Of the runner.
        total: Environments that it starts.
    """

    def __init__(self, run: str, worker_index: int, total: int) -> None:
        self._run, self._worker_index, self._total = run, worker_index, total
        self._started, self._lock = 0, threading.Lock()
        self(0)

    def __call__(self, more: int) -> None:
        """Counts `more` environments."""
        with self._lock, suppress(Exception):  # a count that cannot be written stops no training
            self._started += more
            key = f"{_prefix(self._run)}{self._worker_index}"
            _internal_kv_put(key, json.dumps([self._started, self._total]), namespace=NAMESPACE)


@final
class StartWatch:
    """Reports to the driver how many environments its starting runs have.

    Args:
        report: Called with a run's key, its environments that have started, and all it starts, whenever that changes.
        clock: Monotonic seconds.
    """

    def __init__(self, report: Callable[[str, int, int], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._report, self._clock = report, clock
        self._known: dict[str, tuple[int, int]] = {}
        self._next_s = float("-inf")

    def expect(self, run: str) -> None:
        """Begins to look for a run that starts, or starts again."""
        self._known[run] = (0, 0)
        _internal_kv_del(_prefix(run), del_by_prefix=True, namespace=NAMESPACE)

    def began(self, run: str) -> None:
        """Stops looking: the run has played its first rollout, or has ended."""
        if self._known.pop(run, None) is not None:
            _internal_kv_del(_prefix(run), del_by_prefix=True, namespace=NAMESPACE)

    def __call__(self) -> None:
        """Looks, unless the last look is more recent than LOOK_EVERY_S."""
        if self._known and self._clock() >= self._next_s:
            self._next_s = self._clock() + LOOK_EVERY_S
            for run, before in list(self._known.items()):
                now = started(run)
                if now != before:
                    self._known[run] = now
                    self._report(run, *now)


def started(run: str) -> tuple[int, int]:
    """Returns how many environments of a run have started over all runners that have begun, and how many will have."""
    keys = _internal_kv_list(_prefix(run), namespace=NAMESPACE)
    found = [_internal_kv_get(key, namespace=NAMESPACE) for key in keys]
    counts = [json.loads(value) for value in found if value]
    return sum(count for count, _ in counts), sum(total for _, total in counts)


def _prefix(run: str) -> str:
    """Returns how the keys of a run begin; a cluster's store holds those of other sessions too."""
    return f"starting/{ray.get_runtime_context().get_job_id()}/{run}/"
