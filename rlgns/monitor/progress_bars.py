"""Progress of a job whose named parts have a known length: bars on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from typing import final

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from rlgns.monitor.console import can_draw, console_of, write_line

LINE_EVERY_S = 10.0
"""Seconds between lines where standard error is not a terminal."""


@final
class ProgressBars:
    """Shows the progress of each part on standard error. Used as a context; called once per step of a part."""

    def __init__(self) -> None:
        console = console_of()
        columns = (TextColumn("{task.description:<12}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console)
        self._live = can_draw(console)
        self._done: dict[str, int] = {}
        self._tasks: dict[str, TaskID] = {}
        self._printed_s = time.monotonic()

    def __enter__(self) -> ProgressBars:
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._bar.stop()

    def __call__(self, part: str, total: int) -> None:
        """Counts one more step of `part`, which has `total` steps."""
        self._done[part] = self._done.get(part, 0) + 1
        if self._live:
            if part not in self._tasks:
                self._tasks[part] = self._bar.add_task(part, total=total)
            self._bar.advance(self._tasks[part])
        elif self._done[part] == total or time.monotonic() - self._printed_s >= LINE_EVERY_S:
            self._printed_s = time.monotonic()
            write_line(f"{part}: {self._done[part]} of {total}")
