"""Progress of training on the terminal: a live table, or plain lines in a pipe or log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO, final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rlgns import formatting
from rlgns.config.schema import Config
from rlgns.critical.verdict import verdict_of
from rlgns.monitor.console import can_draw, console_of, fitted_table, print_message
from rlgns.monitor.listener import Listener, Row, RunStart
from rlgns.monitor.plain_terminal import PlainTerminal
from rlgns.monitor.row_text import (
    adaptive_line,
    advice_lines,
    batch_text,
    critical_batch_text,
    noise_scale_text,
    short_critical_batch_text,
)
from rlgns.monitor.runs_progress import RunsProgress
from rlgns.monitor.start_text import started_text, starting

NARROW_COLUMNS, FULL_COLUMNS = 108, 140
"""Below the first width the table shortens its headings and texts; from the second on it has learning rate and
interval, which the sentence below it has at any width."""


def make_terminal(
    config: Config, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Listener:
    """Returns a live display for a terminal, and plain lines for anything else, such as a pipe or TERM=dumb.

    Args:
        config: The resolved configuration, for its games and observations.
        stream: Where to write; standard error by default.
        clock: Monotonic seconds.
    """
    stream = sys.stderr if stream is None else stream
    console = console_of(stream)
    if can_draw(console):
        return LiveTerminal(config, console, clock=clock)
    return PlainTerminal(config, stream, clock=clock)


@final
class LiveTerminal(Listener):
    """Redraws in place a progress bar, a table with a row per game, and lines of advice."""

    def __init__(self, config: Config, console: Console, *, clock: Callable[[], float]) -> None:
        self._console = console
        self._progress, self._starting = RunsProgress(config, clock), starting(config)
        self._envs = config.env.num_envs
        self._runs: list[RunStart] = []
        self._rows: dict[str, Row | None] = {}
        self._started: dict[str, str] = {}
        self._preset = config.run.name
        # Standard output is not redirected: it carries results. One redraw a second costs no measurable training time.
        self._live = Live(
            console=console, get_renderable=self.render, refresh_per_second=1, redirect_stdout=False, transient=False
        )

    def start(self, runs: list[RunStart]) -> None:
        """Starts drawing."""
        self._runs = runs
        for run in runs:
            self._rows[run.key] = _saved_row(run)
            self._progress.start(run.key, run.saved_observations)
            self._started[run.key] = self._starting
        self._live.start(refresh=True)

    def starting(self, game: str, started: int, total: int) -> None:
        """Shows the count at the next redraw, until the first row."""
        self._started[game] = started_text(started, max(total, self._envs))  # of several runners some may not count yet

    def row(self, game: str, row: Row) -> None:
        """Shows the row at the next redraw."""
        self._started.pop(game, None)
        self._rows[game] = row
        self._progress.row(game, row)

    def repeated(self, game: str, row: Row) -> None:
        """Shows a repeated row like a new one: training is there and not further."""
        self.row(game, row)

    def message(self, text: str) -> None:
        """Prints the line above the table."""
        print_message(self._console, text)

    def end(self, outcome: str) -> None:
        """Draws a last time and leaves the table on the screen."""
        for run in self._runs:
            if (row := self._progress.unheard(run)) is not None:
                self.row(run.key, row)
        self._live.stop()

    def render(self) -> RenderableType:
        """Returns what the screen shows now."""
        width = self._console.width
        waiting = self._progress.waiting()
        rows = [(game, row) for game, row in self._rows.items() if game not in waiting]
        lines: list[RenderableType] = [self._bar(width)]
        if any(row for _, row in rows):
            lines.append(self._table(rows, width))
        several = len(self._rows) > 1
        for game, row in rows:
            for sentence in self._sentences(game, row):
                lines.append(Text(f"{game}: {sentence}" if several else sentence, style="italic"))
        if waiting:
            lines.append(Text(f"then, one after another: {', '.join(waiting)}", style="italic"))
        return Group(*lines)

    def _sentences(self, game: str, row: Row | None) -> list[str]:
        known = (
            [verdict_of(row, preset=self._preset).sentence(), *adaptive_line(row), *advice_lines(row)] if row else []
        )
        return [*known, self._started[game]] if game in self._started else known

    def _bar(self, width: int) -> RenderableType:
        done, total = self._progress.done, self._progress.total
        share = f"{formatting.short(done)} of {formatting.short(total)} observations"
        text = f"{formatting.percent(done / total)}  {share}{self._progress.left()}"
        line = Table.grid(padding=(0, 2), expand=False)
        line.add_row(ProgressBar(total=total, completed=done, width=max(8, min(48, width - len(text) - 3))), Text(text))
        return line

    def _table(self, rows: list[tuple[str, Row | None]], width: int) -> Table:
        wide, full = width >= NARROW_COLUMNS, width >= FULL_COLUMNS
        titles = ["game", "observations" if wide else "obs.", "score", "human", "observations/s" if wide else "obs./s"]
        titles += ["learning rate"] if full else []
        titles += ["noise scale now" if wide else "noise scale", "critical batch" if wide else "critical", "batch"]
        cells = [
            [game if wide else game[:14], *(_cells(row, wide, full) if row else [""] * (len(titles) - 1))]
            for game, row in rows
        ]
        return fitted_table(titles, cells, width, drop=("human", titles[4], "learning rate", "batch", titles[1]))


def _saved_row(run: RunStart) -> Row | None:
    """Returns the newest row of a resumed run, unless training repeats it."""
    row = run.first_row
    return row if row and row["observations"] <= run.saved_observations else None


def _cells(row: Row, wide: bool, full: bool) -> list[str]:
    number = formatting.rounded if wide else formatting.compact
    return [
        formatting.short(row["observations"]),
        formatting.score(row["score_mean"]),
        formatting.percent(row["human_normalised_score"]),
        (formatting.count if wide else formatting.short)(row["throughput/observations_per_s"]),
        *([formatting.rate(row["learning_rate"])] if full else []),
        noise_scale_text(row, number),
        critical_batch_text(row) if full else short_critical_batch_text(row, number),
        batch_text(row) if wide else formatting.short(row["batch_observations"]),
    ]
