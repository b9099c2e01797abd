"""Where trials come from: a list that is known from the start, or a plan that grows while its trials run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

from ray.tune.search import Searcher

from rlgns.monitor.listener import Row, RunStart


class TrialQueue:
    """Hands out runs to train and hears how they fare; all in the driver's process."""

    def shared(self, most: int, cpus: float) -> None:
        """Hears, before the first run, how many run at once and how many CPUs each has."""

    def next(self) -> RunStart | None:
        """The run to start now, in a folder that exists, or None: nothing until one of those under way ends."""
        raise NotImplementedError

    def enough(self, key: str, row: Row) -> bool:
        """Hears of a new row of the run `key`. Returns whether the run should stop; it saves first."""
        return False

    def ended(self, key: str, fault: str, detail: str = "") -> None:
        """Hears that a run stopped for good.

        Args:
            key: Of the run.
            fault: What stopped it early, in one line, or empty.
            detail: The same with tracebacks, where there are any.
        """


@final
class FixedQueue(TrialQueue):
    """Runs that are all known from the start, each trained to its end."""

    def __init__(self, runs: Sequence[RunStart]) -> None:
        self._left = list(runs)

    def next(self) -> RunStart | None:
        """Returns the next of the list."""
        return self._left.pop(0) if self._left else None


@final
class QueueSearcher(Searcher):
    """Shows a source to Tune, which asks for one trial at a time and knows trials by ids of its own.

    Args:
        source: Of the runs.
        settings_of: From a run to what its trial's algorithm is configured with.
        most: How many run at once.
    """

    def __init__(self, source: TrialQueue, settings_of: Callable[[RunStart], dict[str, Any]], *, most: int) -> None:
        super().__init__()
        self._source, self._settings_of, self._most = source, settings_of, most
        self._keys: dict[str, str] = {}
        self._live: set[str] = set()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """Returns the settings of the next trial; None: not now; FINISHED: never again."""
        if len(self._live) >= self._most:
            return None
        run = self._source.next()
        if run is None:
            return None if self._live else Searcher.FINISHED
        self._keys[trial_id] = run.key
        self._live.add(trial_id)
        return self._settings_of(run)

    def key(self, trial_id: str) -> str:
        """Returns the key of the run that a trial trains."""
        return self._keys[trial_id]

    def end(self, trial_id: str) -> str:
        """Notes that a trial stopped for good; its place is free. Returns the run's key."""
        self._live.discard(trial_id)
        return self._keys[trial_id]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tune's own notice, without the reason; `end` is told by a callback that knows it."""

    def save(self, checkpoint_path: str) -> None:
        """Tune's notes for a resume of its own, which is never used: the runs' folders are the truth."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """See `save`."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as above
