"""Progress of a calibration on standard error."""

from __future__ import annotations

import time
from typing import final

from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from rlgns.formatting import duration, percent, short
from rlgns.monitor.bar_or_lines import BarOrLines
from rlgns.monitor.console import write_line
from rlgns.monitor.listener import Listener
from rlgns.noise.offline.brute_force import BruteForceResult


@final
class CalibrationProgress(Listener):
    """Shows observations played, the truth's precision so far, and the time remaining; used as a context."""

    def __init__(self, most: int, precision: float) -> None:
        """Takes the most observations that are played, and the precision at which playing ends earlier."""
        self._most, self._total, self._precision = most, most, precision
        self._done, self._precision_text = 0, ""
        self._pace_from: tuple[float, int] | None = None
        self._display = BarOrLines(
            TextColumn("calibrate"), BarColumn(), TextColumn("{task.fields[text]}"), TimeRemainingColumn()
        )
        self._task = self._display.bar.add_task("", total=most, text="starting the games")

    def __enter__(self) -> CalibrationProgress:
        self._display.__enter__()
        if not self._display.draws:
            self.message("starting the games")
        return self

    def __exit__(self, *_: object) -> None:
        self._display.__exit__()

    def played(self, observations: int) -> None:
        """Adds observations."""
        self._done += observations
        text = f"{short(self._done)} of {short(self._total)} observations{self._precision_text}"
        if self._display.draws:
            self._display.bar.update(self._task, completed=self._done, total=self._total, text=text)
        else:
            self._display.line(f"calibrate: {text}{self._remaining()}")

    def expect(self, seconds: float) -> None:
        """Says before most of the work how long it takes at most."""
        self.message(
            f"{short(self._most)} observations at most: about {duration(seconds)}; Ctrl-C prints what is known"
        )

    def known(self, result: BruteForceResult) -> None:
        """Takes the truth so far: its precision sets how many observations are still needed."""
        self._total = int(max(self._done, min(self._most, result.observations_for(self._precision))))
        of_grad_sq, of_trace = result.precision
        self._precision_text = f", |G|^2 to {percent(of_grad_sq)}, trace to {percent(of_trace)}"

    def message(self, text: str) -> None:
        """Prints one line."""
        if self._display.draws:
            self._display.bar.console.print(text)
        else:
            write_line(f"calibrate: {text}")

    def _remaining(self) -> str:
        """Returns ', 40 s left'. The first rollout waits for the emulators to start and says nothing of the pace."""
        now = time.monotonic()
        if self._pace_from is None:
            self._pace_from = now, self._done
            return ""
        began, first = self._pace_from
        return f", {duration((now - began) / (self._done - first) * (self._total - self._done))} left"
