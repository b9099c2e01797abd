"""Reports how often the noise scale's probe runs, once for each game."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from rlgns.config.schema import Config
from rlgns.formatting import percent
from rlgns.monitor.listener import Listener, Row, RunStart

EVERY = "noise/probe_every_iterations"


@final
class ProbeNotice(Listener):
    """Prints one line per game about the interval between its probes."""

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        """Takes the configuration, which has the budget, and a function that prints a line."""
        self._budget, self._say = config.noise.overhead_budget, say
        self._reported: set[str] = set()

    def start(self, runs: list[RunStart]) -> None:
        """Leaves out resumed runs that reported it before."""
        self._reported.update(run.key for run in runs if (run.first_row or {}).get(EVERY))

    def row(self, game: str, row: Row) -> None:
        """Reports the row's interval if it is the game's first."""
        every = row.get(EVERY)
        if not every or game in self._reported:
            return
        self._reported.add(game)
        often = f"{every} iterations" if every > 1 else "iteration"
        self._say(
            f"{game}: the probe of the noise scale runs every {often}, which keeps measurement within "
            f"{percent(self._budget)} of the time (noise.overhead_budget)"
        )
