"""Says how often the noise scale's probe runs: once when that is known, and again when it changes much."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from rlgns.config.schema import Config
from rlgns.formatting import percent
from rlgns.monitor.listener import Listener, Row, RunStart

MUCH = 2.0
"""A cadence is told again when it is so many times longer or shorter than the one told last."""


@final
class ProbeNotice(Listener):
    """One line per game about the cadence of its probe."""

    def __init__(self, config: Config, say: Callable[[str], None]) -> None:
        """Takes the configuration for the budget, and where to say it."""
        self._budget, self._say = config.noise.overhead_budget, say
        self._told: dict[str, int] = {}

    def start(self, runs: list[RunStart]) -> None:
        """Takes what a resumed run was told before as told."""
        for run in runs:
            every = (run.first_row or {}).get("noise/probe_every_iterations")
            if every:
                self._told[run.game] = every

    def row(self, game: str, row: Row) -> None:
        """Says the row's cadence where it is news."""
        every = row.get("noise/probe_every_iterations")
        told = self._told.get(game)
        if not every or (told and 1 / MUCH < every / told < MUCH):
            return
        self._told[game] = every
        often = f"{every} iterations" if every > 1 else "iteration"
        self._say(
            f"{game}: the noise scale is probed every {often}, which keeps measuring within {percent(self._budget)} of "
            "the time (noise.overhead_budget)"
        )
