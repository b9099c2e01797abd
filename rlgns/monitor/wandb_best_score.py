"""The best score of a run, for W&B's summary and its table of runs."""

from __future__ import annotations

from typing import final

from rlgns.critical.goals import WINDOW
from rlgns.monitor.listener import Row


@final
class BestScore:
    """The highest `score_mean` of full windows: the mean of fewer games than that is high by chance."""

    def __init__(self) -> None:
        self._best: Row | None = None
        self._improved = False

    def add(self, row: Row) -> None:
        """Takes the next row."""
        score = row["score_mean"]
        if score is None or row["score_episodes"] < WINDOW:
            return
        if self._best is None or score > self._best["score_mean"]:
            self._best, self._improved = row, True

    def improved(self) -> dict[str, float]:
        """Returns the summary's entries if they are new, or nothing."""
        if self._best is None or not self._improved:
            return {}
        self._improved = False
        return {"best/score_mean": self._best["score_mean"], "best/observations": self._best["observations"]}
