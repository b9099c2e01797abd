"""How far all runs of a session are, and how long the rest will take."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import final

from rlgns import formatting
from rlgns.config.schema import Config
from rlgns.errors import UserError
from rlgns.monitor.listener import Row, RunStart


@final
class RunsProgress:
    """Counts the observations of all games together and extrapolates the pace of their newest rows."""

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        self._target, self._at_once = config.run.observations, len(config.run.games)
        self._clock = clock
        self._done: dict[str, int] = {}
        self._recent: dict[str, deque[tuple[float, int]]] = {}

    @property
    def total(self) -> int:
        """Observations of all runs, at their end."""
        return self._target * max(1, len(self._done))

    @property
    def done(self) -> int:
        """Observations so far over all runs."""
        return sum(self._done.values())

    def start(self, game: str, observations: int) -> None:
        """Counts the observations that a resumed game starts from. The pace begins with its first row."""
        self._done[game] = min(observations, self._target)
        self._recent[game] = deque(maxlen=64)

    def row(self, game: str, row: Row) -> None:
        """Counts a row."""
        self._done[game] = min(int(row["observations"]), self._target)
        self._recent.setdefault(game, deque(maxlen=64)).append((self._clock(), self._done[game]))

    def seconds_remaining(self) -> float | None:
        """Returns the remaining time of all games; None before any game's second row.

        A run without a second row counts at the mean pace of the others; seeds of a game run one after another.
        """
        running = [game for game, done in self._done.items() if done < self._target]
        paces = [pace for game in running if (pace := self._pace(game)) is not None]
        if not running:
            return 0.0
        return (
            (self.total - self.done) / (sum(paces) / len(paces) * min(len(running), self._at_once)) if paces else None
        )

    def waiting(self) -> list[str]:
        """Returns the runs that start once others have ended: seeds of a game run one after another."""
        begun = [run for run, done in self._done.items() if done < self._target and self._recent.get(run)]
        fresh = [run for run, done in self._done.items() if done < self._target and not self._recent.get(run)]
        return fresh[max(0, self._at_once - len(begun)) :]

    def unheard(self, run: RunStart) -> Row | None:
        """Returns the row of the iteration in which Tune stopped a run: it is in metrics.jsonl and was not passed on.

        None where there is no such row. Rows of earlier sessions do not count: a kill may have taken their training.
        """
        with suppress(OSError, UserError):  # the end of training says what is wrong with the folder
            newest = run.folder.last_row()
            earlier = run.first_row["observations"] if run.first_row else 0
            if newest is not None and newest["observations"] > max(earlier, self._done.get(run.key, 0)):
                return newest
        return None

    def left(self) -> str:
        """Returns ', 12 min left', or nothing while that is not known."""
        seconds = self.seconds_remaining()
        return f", {formatting.duration(seconds)} left" if seconds is not None else ""

    def _pace(self, game: str) -> float | None:
        """Returns a game's observations per second over its newest rows; None before its second row."""
        recent = self._recent.get(game)
        if not recent:
            return None
        (first_s, first), (last_s, last) = recent[0], recent[-1]
        return (last - first) / (last_s - first_s) if last > first and last_s > first_s else None
