"""Progress of a job whose named parts have a known length: bars on a terminal, plain lines in a pipe."""

from __future__ import annotations

from typing import final

from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn

from rlgns.monitor.bar_or_lines import BarOrLines


@final
class ProgressBars:
    """Shows the progress of each part on standard error. Used as a context; called once per step of a part."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description:<12}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        self._display = BarOrLines(*columns, TimeRemainingColumn())
        self._done: dict[str, int] = {}
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> ProgressBars:
        self._display.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._display.__exit__()

    def __call__(self, part: str, total: int) -> None:
        """Counts one more step of `part`, which has `total` steps."""
        done = self._done[part] = self._done.get(part, 0) + 1
        if not self._display.draws:
            self._display.line(f"{part}: {done} of {total}", now=done == total)
            return
        bar = self._display.bar
        if part not in self._tasks:
            self._tasks[part] = bar.add_task(part, total=total)
        bar.advance(self._tasks[part])
