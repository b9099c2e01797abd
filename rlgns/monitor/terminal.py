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
from rlgns.critical.advice import advice_of, steps_advice_of
from rlgns.critical.verdict import verdict_of
from rlgns.critical.whose_noise import whose_noise
from rlgns.monitor.console import can_draw, console_of, fitted_table, print_message, write_line
from rlgns.monitor.listener import Listener, Row, RunStart
from rlgns.monitor.row_text import (
    adaptive_line,
    batch_text,
    critical_batch_text,
    noise_scale_text,
    short_critical_batch_text,
)
from rlgns.monitor.runs_progress import RunsProgress

PLAIN_LINE_EVERY_S = 5.0
"""Seconds between two plain lines of the same game."""

EMULATOR_START_S = 0.8
"""Core-seconds until an environment starts its first staggered game (512 environments took 3 to 4 min on 2 cores)."""

MANY_ENVS = 64
"""Environments from which the terminal explains a slow start."""

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


def advice_lines(row: Row) -> list[str]:
    """Returns what twice the environments would buy; where known, what twice the steps would, and whose noise it is."""
    longer = steps_advice_of(row)
    more = [longer.sentence() if longer.step_ratio_high is not None else "", whose_noise(row)]
    return [advice_of(row).sentence(), *filter(None, more)]


def starting(config: Config) -> str:
    """Returns the text shown before a game's first row: what starts and, for many environments, how long that takes."""
    envs = config.env.num_envs
    patience = f"; each emulator takes {EMULATOR_START_S:.1f} s of a core to start" if envs >= MANY_ENVS else ""
    return f"starting {formatting.plural(envs, 'environment')}{patience}"


@final
class LiveTerminal(Listener):
    """Redraws in place a progress bar, a table with a row per game, and lines of advice."""

    def __init__(self, config: Config, console: Console, *, clock: Callable[[], float]) -> None:
        self._console = console
        self._progress, self._starting = RunsProgress(config, clock), starting(config)
        self._rows: dict[str, Row | None] = {}
        self._preset = config.run.name
        # Standard output is not redirected: it carries results. One redraw a second costs no measurable training time.
        self._live = Live(
            console=console, get_renderable=self.render, refresh_per_second=1, redirect_stdout=False, transient=False
        )

    def start(self, runs: list[RunStart]) -> None:
        """Starts drawing."""
        for run in runs:
            self._rows[run.key] = _saved_row(run)
            self._progress.start(run.key, run.saved_observations)
        self._live.start(refresh=True)

    def row(self, game: str, row: Row) -> None:
        """Shows the row at the next redraw."""
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
            for sentence in (
                [verdict_of(row, preset=self._preset).sentence(), *adaptive_line(row), *advice_lines(row)]
                if row
                else [self._starting]
            ):
                lines.append(Text(f"{game}: {sentence}" if several else sentence, style="italic"))
        if waiting:
            lines.append(Text(f"then, one after another: {', '.join(waiting)}", style="italic"))
        return Group(*lines)

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
        titles += ["noise scale", "critical batch" if wide else "critical", "batch"]
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


@final
class PlainTerminal(Listener):
    """Prints a line per game every few seconds, for pipes and log files: no control codes, no redrawing."""

    def __init__(self, config: Config, stream: TextIO, *, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._target = config.run.observations
        self._progress, self._starting = RunsProgress(config, clock), starting(config)
        self._printed_s: dict[str, float] = {}
        self._held_back: dict[str, Row] = {}
        self._advice: dict[str, set[str]] = {}

    def start(self, runs: list[RunStart]) -> None:
        """Counts what resumed games did before and prints that all games are starting."""
        for run in runs:
            self._progress.start(run.key, run.saved_observations)
        waiting = self._progress.waiting()
        for run in runs:
            if run.key not in waiting:
                self.message(f"{run.key}: {self._starting}")
        if waiting:
            self.message(f"then, one after another: {', '.join(waiting)}")

    def row(self, game: str, row: Row) -> None:
        """Prints the row unless the game's last line is too recent."""
        self._progress.row(game, row)
        self._held_back[game] = row
        if self._clock() - self._printed_s.get(game, float("-inf")) >= PLAIN_LINE_EVERY_S:
            self._print_row(game)

    def repeated(self, game: str, row: Row) -> None:
        """Prints a repeated row like a new one: training is there and not further."""
        self.row(game, row)

    def message(self, text: str) -> None:
        """Prints the line."""
        write_line(text, self._stream)

    def end(self, outcome: str) -> None:
        """Prints the newest rows that were held back."""
        for game in list(self._held_back):
            self._print_row(game)

    def _print_row(self, game: str) -> None:
        row = self._held_back.pop(game)
        self._printed_s[game] = self._clock()
        human = row["human_normalised_score"]
        parts = [
            f"{formatting.count(row['observations'])} of {formatting.count(self._target)} observations",
            f"score {formatting.score(row['score_mean'])}"
            + (f" ({formatting.percent(human)} of human)" if formatting.known(human) else ""),
            f"{formatting.count(row['throughput/observations_per_s'])} observations/s",
            f"noise scale now {noise_scale_text(row)} at learning rate {formatting.rate(row['learning_rate'])}",
            f"critical batch {critical_batch_text(row)}",
            f"batch {batch_text(row)}",
        ]
        self.message(f"{game}: {', '.join(parts)}{self._progress.left()}")
        sentences = {sentence.split(":")[0]: sentence for sentence in advice_lines(row)}
        for head in sentences.keys() - self._advice.get(game, set()):
            # Once, when first known; the final summary has the last value.
            self.message(f"{game}: {sentences[head]}")
        self._advice[game] = set(sentences)
