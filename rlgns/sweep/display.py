"""Shows a sweep's progress: a bar, counts and the running trials; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO, final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from rlgns import formatting
from rlgns.monitor.console import can_draw, console_of, fitted_table, print_message, write_line
from rlgns.monitor.listener import Listener, Row, RunStart
from rlgns.monitor.row_text import noise_scale_text
from rlgns.sweep.plan import Trial, Verdict
from rlgns.sweep.queue import SweepQueue

PLAIN_LINE_EVERY_S = 30.0
"""Seconds between two plain lines about the whole sweep."""

PACE_WINDOW_S = 600.0
"""The time left is estimated from the observations of the last so many seconds."""


@final
class SweepStatus:
    """How far a sweep is, what it has cost, and how long the rest takes at most."""

    def __init__(self, queue: SweepQueue, *, price: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`price`: money per core and hour, or 0."""
        self._queue, self._price, self._clock = queue, price, clock
        self._played = 0
        self._recent: deque[tuple[float, int]] = deque([(clock(), 0)])
        self.refresh()

    def refresh(self) -> None:
        """Reads the trials and their verdicts again, after one began, ended or was added."""
        self._trials = self._queue.trials()
        self.verdicts = {trial: self._queue.verdict(trial) for trial in self._trials}

    def row(self, row: Row) -> None:
        """Counts the observations of an iteration."""
        self._played += row["rollout_observations"]
        now = self._clock()
        self._recent.append((now, self._played))
        while now - self._recent[0][0] > PACE_WINDOW_S and len(self._recent) > 2:
            self._recent.popleft()

    @property
    def total(self) -> int:
        """Trials known so far."""
        return len(self._trials)

    def count(self, *verdicts: Verdict) -> int:
        """Trials with one of these verdicts."""
        return sum(verdict in verdicts for verdict in self.verdicts.values())

    @property
    def fraction_done(self) -> float:
        """Fraction of the most observations that is either played or no longer needed."""
        return 1 - self._left() / max(1, self._queue.plan.budget * self.total)

    def seconds_left(self) -> float | None:
        """Upper bound of the time left at the present pace; None before a pace is known."""
        (first_s, first), (last_s, last) = self._recent[0], self._recent[-1]
        return self._left() * (last_s - first_s) / (last - first) if last > first and last_s > first_s else None

    def cost(self) -> str:
        """Returns core-hours so far, those before a resume included, and money where there is a price."""
        hours = sum(self._queue.training_seconds.values()) * self._queue.cores_per_trial / 3600
        money = f", {formatting.rounded(hours * self._price, 3)} in money" if self._price else ""
        return f"{formatting.rounded(hours)} core-hours{money}"

    def line(self) -> str:
        """Returns counts, cost and time left in one line."""
        done = self.total - self.count(Verdict.UNFINISHED)
        parts = [f"{done} of {self.total} trials done"]
        for verdict, word in (
            (Verdict.LOST, "lost early"),
            (Verdict.BUDGET, "out of budget"),
            (Verdict.FAILED, "failed"),
        ):
            parts += [f"{self.count(verdict)} {word}"] if self.count(verdict) else []
        left = f"; at most {formatting.duration(self.seconds_left())} left" if done < self.total else ""
        return f"{', '.join(parts)}; {self.cost()}{left}"

    def _left(self) -> int:
        budget = self._queue.plan.budget
        seen = self._queue.progress
        return sum(
            max(0, budget - (seen[trial].observations if trial in seen else 0))
            for trial, verdict in self.verdicts.items()
            if verdict is Verdict.UNFINISHED
        )


class Display(Listener):
    """A listener that also hears of trials that begin and stop."""

    def began(self, trial: Trial, start: RunStart) -> None:
        """A trial begins or resumes."""

    def stopped(self, trial: Trial, verdict: Verdict) -> None:
        """A trial ended, or the user stopped it (UNFINISHED)."""


def make_display(
    status: SweepStatus, stream: TextIO | None = None, *, clock: Callable[[], float] = time.monotonic
) -> Display:
    """Returns a live display for a terminal, plain lines for anything else."""
    stream = sys.stderr if stream is None else stream
    console = console_of(stream)
    return LiveDisplay(status, console) if can_draw(console) else PlainDisplay(status, stream, clock=clock)


@final
class LiveDisplay(Display):
    """A bar, a line of counts and cost, and a table of the running trials; ended trials are printed above."""

    def __init__(self, status: SweepStatus, console: Console) -> None:
        self._status, self._console = status, console
        self._rows: dict[str, Row | None] = {}
        self._started: dict[str, str] = {}
        self._live = Live(console=console, get_renderable=self.render, refresh_per_second=1, redirect_stdout=False)
        self._live.start(refresh=True)

    def began(self, trial: Trial, start: RunStart) -> None:
        """Adds the trial to the table."""
        self._status.refresh()
        self._rows[trial.name] = None

    def stopped(self, trial: Trial, verdict: Verdict) -> None:
        """Removes the trial from the table and prints how it ended."""
        self._status.refresh()
        self.message(_ending(trial.name, verdict, self._rows.pop(trial.name, None)))

    def starting(self, game: str, started: int, total: int) -> None:
        """Shows the count at the next redraw, until the trial's first row."""
        self._started[game] = f"starting {started}/{total}"

    def row(self, game: str, row: Row) -> None:
        """Shows the row at the next redraw."""
        self._status.row(row)
        if game in self._rows:
            self._rows[game] = row

    def message(self, text: str) -> None:
        """Prints the line above the table."""
        print_message(self._console, text)

    def end(self, outcome: str) -> None:
        """Draws for the last time."""
        self._live.stop()

    def render(self) -> RenderableType:
        """Returns what the screen shows now."""
        bar = ProgressBar(
            total=1.0, completed=self._status.fraction_done, width=max(8, min(48, self._console.width - 2))
        )
        titles = ("trial", "obs.", "score", "obs./s", "noise scale")
        cells = [
            [name, *(_cells(row) if row else [self._started.get(name, "starting"), "", "", ""])]
            for name, row in self._rows.items()
        ]
        table = fitted_table(titles, cells, self._console.width, drop=("obs./s", "score"))
        return Group(bar, Text(self._status.line()), table)


@final
class PlainDisplay(Display):
    """One line when a trial begins or ends, and one about the whole sweep every half minute."""

    def __init__(self, status: SweepStatus, stream: TextIO, *, clock: Callable[[], float]) -> None:
        self._status, self._stream, self._clock = status, stream, clock
        self._rows: dict[str, Row] = {}
        self._printed_s = clock()

    def began(self, trial: Trial, start: RunStart) -> None:
        """Prints a line."""
        self._status.refresh()
        done = formatting.count(start.first_row["observations"]) if start.first_row else ""
        self.message(f"{trial.name}: {f'resumes after {done} observations' if done else 'begins'}")

    def stopped(self, trial: Trial, verdict: Verdict) -> None:
        """Prints a line about the trial and one about the whole sweep."""
        self._status.refresh()
        self.message(_ending(trial.name, verdict, self._rows.pop(trial.name, None)))
        self._print_status()

    def row(self, game: str, row: Row) -> None:
        """Prints a line about the whole sweep if the last one is old enough."""
        self._status.row(row)
        self._rows[game] = row
        if self._clock() - self._printed_s >= PLAIN_LINE_EVERY_S:
            self._print_status()

    def message(self, text: str) -> None:
        """Prints the line."""
        write_line(text, self._stream)

    def end(self, outcome: str) -> None:
        """Prints where the sweep stands."""
        self._status.refresh()
        self._print_status()

    def _print_status(self) -> None:
        self._printed_s = self._clock()
        self.message(self._status.line())


def _ending(name: str, verdict: Verdict, row: Row | None) -> str:
    """Returns a line on how a trial stopped."""
    why = "stopped" if verdict is Verdict.UNFINISHED else verdict.value
    if row is None:
        return f"{name}: {why}"
    observations, score = formatting.count(row["observations"]), formatting.score(row["score_mean"])
    return f"{name}: {why} after {observations} observations, score {score}"


def _cells(row: Row) -> list[str]:
    """Returns a trial's cells in the table, after its name."""
    return [
        formatting.short(row["observations"]),
        formatting.score(row["score_mean"]),
        formatting.short(row["throughput/observations_per_s"]),
        noise_scale_text(row, formatting.compact),
    ]
