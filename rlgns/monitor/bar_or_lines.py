"""A progress bar on a terminal, or a plain line now and then where standard error is a pipe."""

from __future__ import annotations

import time
from typing import final

from rich.progress import Progress, ProgressColumn

from rlgns.monitor.console import can_draw, console_of, write_line

LINE_EVERY_S = 10.0
"""Seconds between plain lines."""


@final
class BarOrLines:
    """Draws `bar` while used as a context; `draws` is False in a pipe, where `line` writes instead."""

    def __init__(self, *columns: str | ProgressColumn) -> None:
        """Takes the columns of a bar."""
        console = console_of()
        self.bar = Progress(*columns, console=console)
        self.draws = can_draw(console)
        self._last_line = time.monotonic()

    def __enter__(self) -> BarOrLines:
        if self.draws:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.draws:
            self.bar.stop()

    def line(self, text: str, *, now: bool = False) -> None:
        """Writes a plain line, unless the last one is more recent than LINE_EVERY_S; `now`: in any case."""
        if now or time.monotonic() - self._last_line >= LINE_EVERY_S:
            self._last_line = time.monotonic()
            write_line(text)
