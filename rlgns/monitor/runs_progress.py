"""How far all runs of a session are, and how long the rest will take."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import final

from rlgns.config.schema import Config
from rlgns.monitor.listener import Row


@final
class RunsProgress:
    """Counts the observations of all games together and extrapolates the pace of the newest rows."""

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        self.total = config.run.observations * len(config.run.games)
        self._target = config.run.observations
        self._clock = clock
        self._done: dict[str, int] = {}
        self._recent: deque[tuple[float, int]] = deque(maxlen=64)

    @property
    def done(self) -> int:
        """Observations so far over all games."""
        return sum(self._done.values())

    def start(self, game: str, row: Row | None) -> None:
        """Counts what a resumed game did before; the pace starts from here."""
        self._done[game] = min(int(row["observations"]), self._target) if row else 0
        self._recent.clear()
        self._recent.append((self._clock(), self.done))

    def row(self, game: str, row: Row) -> None:
        """Counts a row."""
        self._done[game] = min(int(row["observations"]), self._target)
        self._recent.append((self._clock(), self.done))

    def seconds_remaining(self) -> float | None:
        """Returns the remaining time of all games; None before the second row."""
        if len(self._recent) < 2:
            return None
        (first_s, first), (last_s, last) = self._recent[0], self._recent[-1]
        if last <= first or last_s <= first_s:
            return None
        return (self.total - last) * (last_s - first_s) / (last - first)
