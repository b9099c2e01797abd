"""Queues of trials: a fixed list, or a plan that grows while its trials run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

from ray.tune.search import Searcher

from rlgns.monitor.listener import Row, RunStart


class TrialQueue:
    """Hands out runs to train and receives their rows, in the driver's process."""

    def shared(self, most: int, cpus: float) -> None:
        """Called before the first run with the number of runs at once and the CPUs of each."""

    def next(self) -> RunStart | None:
        """Returns the run to start now, whose folder exists; None: nothing until a run ends."""
        raise NotImplementedError

    def enough(self, key: str, row: Row) -> bool:
        """Called with a new row of the run `key`. Returns whether the run should stop; it saves first."""
        return False

    def ended(self, key: str, fault: str, detail: str = "") -> None:
        """Called when a run has stopped for good.

        Args:
            key: Of the run.
            fault: What stopped it early, in one line, or empty.
            detail: The same with tracebacks, where there are any.
        """


@final
class FixedQueue(TrialQueue):
    """A fixed list of runs, each trained to its end."""

    def __init__(self, runs: Sequence[RunStart]) -> None:
        self._remaining = list(runs)

    def next(self) -> RunStart | None:
        """Returns the next of the list."""
        return self._remaining.pop(0) if self._remaining else None


@final
class QueueSearcher(Searcher):
    """Presents a queue to Tune, which asks for one trial at a time and has its own ids for them.

    Args:
        queue: Of the runs.
        settings_of: Returns the settings of a run's algorithm.
        most: Runs at once.
    """

    def __init__(self, queue: TrialQueue, settings_of: Callable[[RunStart], dict[str, Any]], *, most: int) -> None:
        super().__init__()
        self._queue, self._settings_of, self._most = queue, settings_of, most
        self._keys: dict[str, str] = {}
        self._running: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Returns the settings of the next trial; None: not now; FINISHED: never again."""
        if len(self._running) >= self._most:
            return None
        run = self._queue.next()
        if run is None:
            return None if self._running else Searcher.FINISHED
        self._keys[trial_id] = run.key
        self._running.add(trial_id)
        return self._settings_of(run)

    def key(self, trial_id: str) -> str:
        """Returns the key of the run that a trial trains."""
        return self._keys[trial_id]

    def end(self, trial_id: str) -> str:
        """Notes that a trial has stopped for good, which frees its place. Returns the run's key."""
        self._running.discard(trial_id)
        return self._keys[trial_id]

    def end_all(self) -> list[str]:
        """Notes that every trial has stopped for good. Returns the keys of the runs that were training."""
        return [self.end(trial_id) for trial_id in sorted(self._running)]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Does nothing: this notice lacks the reason, and `_Relay` calls `end` with it."""

    def save(self, checkpoint_path: str) -> None:
        """Writes an empty file: Tune's own resume is never used, for the runs' folders hold everything."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as above
