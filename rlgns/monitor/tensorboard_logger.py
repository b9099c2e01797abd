"""TensorBoard: the numbers of the rows as event files in the run's folder, over observations."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from rlgns.monitor.flat_rows import ThinnedRows
from rlgns.monitor.listener import Listener, Row, RunStart
from rlgns.monitor.tensorboard_events import EventFile, newest_step


@final
class _Run:
    """One run's event file."""

    def __init__(self, start: RunStart) -> None:
        path = start.folder.path / "tensorboard"
        last = (start.first_row or {}).get("observations", 0)
        self._logged = min(newest_step(path), last)  # a power cut may have taken rows that TensorBoard has
        self._thinned = ThinnedRows(start.config.output.log_every_s)
        self._newest: Row | None = None
        self._file = EventFile(path, first_step=self._logged + 1)
        for row in start.folder.rows() if start.resumed else ():
            self.row(row)

    def row(self, row: Row) -> None:
        """Logs a row, or holds it back."""
        if row["observations"] <= self._logged:
            self._thinned.passed(row)
            return
        self._newest = row
        if (flat := self._thinned.add(row)) is not None:
            self._file.write(row["observations"], flat)

    def end(self) -> None:
        """Logs what was held back."""
        if self._newest is not None and (flat := self._thinned.rest(self._newest)) is not None:
            self._file.write(self._newest["observations"], flat)
        self._file.close()


@final
class TensorBoardLogger(Listener):
    """Logs the rows of every run with `output.tensorboard`, at most one per `output.log_every_s`.

    A resumed run first logs the rows of metrics.jsonl that its event files lack. A step is shown once.

    Args:
        say: Prints one line for the user.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._runs: dict[str, _Run] = {}

    def start(self, runs: list[RunStart]) -> None:
        """Makes the event files."""
        for start in runs:
            if not start.config.output.tensorboard:
                continue
            try:
                self._runs[start.key] = _Run(start)
            except OSError as error:  # training needs no TensorBoard
                self._say(f"TensorBoard is off for {start.key}: {error}; metrics.jsonl is complete")
        logged = [start for start in runs if start.key in self._runs]
        if logged and logged[0].job_type != "sweep":  # a sweep has too many
            places = ",".join(f"{start.key}:{start.folder.path}/tensorboard" for start in logged)
            where = f"--logdir {logged[0].folder.path}" if len(logged) == 1 else f"--logdir_spec {places}"
            self._say(f"TensorBoard: tensorboard {where}")

    def row(self, game: str, row: Row) -> None:
        """Logs a row."""
        if game in self._runs:
            self._runs[game].row(row)

    def finish(self, key: str) -> None:
        """Closes one run's file while the session continues with others."""
        if key in self._runs:
            self._runs.pop(key).end()

    def end(self, outcome: str) -> None:
        """Closes all files."""
        for key in list(self._runs):
            self.finish(key)
