"""Progress of a job in named parts of known length: bars on a terminal, a plain line now and then in a pipe."""

from __future__ import annotations

import time
from typing import final

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from rlgns.monitor.console import can_draw, console_of, write_line

LINE_EVERY_S = 10.0
"""Seconds between lines where standard error is not a terminal."""


@final
class ProgressBars:
    """Shows on standard error how far each part is; used as a context, then called once for each step of a part."""

    def __init__(self) -> None:
        console = console_of()
        columns = (TextColumn("{task.description:<12}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console)
        self._live = can_draw(console)
        self._done: dict[str, int] = {}
        self._tasks: dict[str, TaskID] = {}
        self._said = time.monotonic()

    def __enter__(self) -> ProgressBars:
        if self._live:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._bar.stop()

    def __call__(self, part: str, total: int) -> None:
        """Notes one more step of `part`, which has `total`."""
        self._done[part] = self._done.get(part, 0) + 1
        if self._live:
            if part not in self._tasks:
                self._tasks[part] = self._bar.add_task(part, total=total)
            self._bar.advance(self._tasks[part])
        elif self._done[part] == total or time.monotonic() - self._said >= LINE_EVERY_S:
            self._said = time.monotonic()
            write_line(f"{part}: {self._done[part]} of {total}")
