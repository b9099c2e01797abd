"""Reports how often the noise scale's probe runs: once when known, and again after a large change."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from rlgns.config.schema import Config
from rlgns.formatting import percent
from rlgns.monitor.listener import Listener, Row, RunStart

LARGE_CHANGE = 10.0
"""The interval between probes is reported again when it has grown or shrunk by this factor. A busy machine doubles and
halves it within minutes."""


@final
class ProbeNotice(Listener):
    """Prints one line per game about the interval between its probes."""

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        """Takes the configuration, which has the budget, and a function that prints a line."""
        self._budget, self._say = config.noise.overhead_budget, say
        self._reported: dict[str, int] = {}

    def start(self, runs: list[RunStart]) -> None:
        """Takes the interval in a resumed run's last row as reported."""
        for run in runs:
            every = (run.first_row or {}).get("noise/probe_every_iterations")
            if every:
                self._reported[run.key] = every

    def row(self, game: str, row: Row) -> None:
        """Reports the row's interval if it is new."""
        every = row.get("noise/probe_every_iterations")
        reported = self._reported.get(game)
        if not every or (reported and 1 / LARGE_CHANGE < every / reported < LARGE_CHANGE):
            return
        self._reported[game] = every
        often = f"{every} iterations" if every > 1 else "iteration"
        self._say(
            f"{game}: the probe of the noise scale runs every {often}, which keeps measurement within "
            f"{percent(self._budget)} of the time (noise.overhead_budget)"
        )
