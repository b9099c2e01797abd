"""One W&B run: which rows it gets, its summary and its logs."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, TextIO, cast, final

from rlgns.critical.verdict import verdict_of
from rlgns.envs.games import GAMES
from rlgns.monitor.flat_rows import ThinnedRows
from rlgns.monitor.listener import Row, RunStart
from rlgns.monitor.terminal import make_terminal
from rlgns.monitor.wandb_artifacts import ArtifactUploader
from rlgns.monitor.wandb_best_score import BestScore


@final
class _Logs(io.TextIOBase):
    """The text that W&B shows as a run's logs: what a terminal that cannot redraw would show.

    The client could capture the terminal itself, but a live table would fill the logs with a frame every second.
    """

    def __init__(self, run: Any) -> None:
        self._run = run

    def write(self, text: str) -> int:
        """Adds lines."""
        self._run.write_logs(text)
        return len(text)


@final
class LoggedRun:
    """One W&B run, and how far its rows are logged.

    Args:
        run: The client's run.
        start: The run as rlgns knows it.
        logged: Newest iteration that W&B has.
        artifacts: Uploads its files.
    """

    def __init__(self, run: Any, start: RunStart, logged: int, artifacts: ArtifactUploader) -> None:
        self.run, self.artifacts = run, artifacts
        self._start, self._logged, self._seen = start, logged, 0
        self._thinned, self._best = ThinnedRows(start.config.output.log_every_s), BestScore()
        self._newest: Row | None = None
        self._media: dict[str, Any] = {}
        self._console = make_terminal(start.config, cast(TextIO, _Logs(run)))
        self._console.start([start])

    def row(self, row: Row) -> None:
        """Logs a row, or holds it back, unless it was logged before."""
        if row["iteration"] > self._seen + 1:
            self.catch_up()
        self._add(row)

    def message(self, text: str) -> None:
        """Writes a line into the run's logs."""
        self._console.message(text)

    def media(self, values: Mapping[str, Any]) -> None:
        """Logs values with the next row that is logged."""
        self._media |= values

    def catch_up(self) -> None:
        """Logs the rows of metrics.jsonl that W&B lacks."""
        for row in self._start.folder.rows():
            self._add(row)

    def end(self, outcome: str) -> None:
        """Logs what is left and closes the run."""
        self.catch_up()
        if self._newest is not None:
            self._log(self._newest, self._thinned.rest(self._newest) or self._media or None)
        folder = self._start.folder
        verdict = verdict_of(folder.last_row() or {}, preset=str(folder.about().get("preset") or ""))
        self.run.summary["verdict"] = verdict.sentence()
        self.artifacts.end()
        self._console.end(outcome)
        self.run.finish(exit_code=0 if outcome == "done" else 1)

    def _add(self, row: Row) -> None:
        if row["iteration"] <= self._seen:
            return
        self._seen = row["iteration"]
        self._best.add(row)
        if row["iteration"] <= self._logged:
            self._thinned.passed(row)
            return
        self._newest = row
        self._console.row(self._start.key, row)
        self._log(row, self._thinned.add(row))
        self.artifacts.row(row)

    def _log(self, row: Row, values: Mapping[str, Any] | None) -> None:
        if values is None:
            return
        self.run.log({**values, **reference_scores(row["game"]), **self._media}, step=row["iteration"])
        self._media = {}
        if summary := self._best.improved():
            self.run.summary.update(summary)


def reference_scores(game: str) -> dict[str, float]:
    """Returns the reference scores of a game, which W&B draws as constant lines; unknown ones are left out."""
    about = GAMES[game]
    scores = {"random": about.random_score, "human": about.human_score, "cleanrl": about.cleanrl_score}
    return {f"reference/{name}_score": score for name, score in scores.items() if score is not None}
