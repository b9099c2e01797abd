"""Progress of training as plain lines, for pipes and log files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO, final

from rlgns import formatting
from rlgns.config.schema import Config
from rlgns.monitor.console import write_line
from rlgns.monitor.listener import Listener, Row, RunStart
from rlgns.monitor.row_text import advice_lines, batch_text, critical_batch_text, noise_scale_text
from rlgns.monitor.runs_progress import RunsProgress
from rlgns.monitor.start_text import started_text, starting

PLAIN_LINE_EVERY_S = 5.0
"""Seconds between two plain lines of the same game."""


@final
class PlainTerminal(Listener):
    """Prints a line per game every few seconds, for pipes and log files: no control codes, no redrawing."""

    def __init__(self, config: Config, stream: TextIO, *, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._target = config.run.observations
        self._progress, self._starting = RunsProgress(config, clock), starting(config)
        self._envs = config.env.num_envs
        self._runs: list[RunStart] = []
        self._printed_s: dict[str, float] = {}
        self._start_printed_s: dict[str, float] = {}
        self._held_back: dict[str, Row] = {}
        self._advice: dict[str, set[str]] = {}

    def start(self, runs: list[RunStart]) -> None:
        """Counts what resumed games did before and prints that all games are starting."""
        self._runs = runs
        for run in runs:
            self._progress.start(run.key, run.saved_observations)
        waiting = self._progress.waiting()
        for run in runs:
            self._start_printed_s[run.key] = self._clock()
            if run.key not in waiting:
                self.message(f"{run.key}: {self._starting}")
        if waiting:
            self.message(f"then, one after another: {', '.join(waiting)}")

    def starting(self, game: str, started: int, total: int) -> None:
        """Prints the count unless the game's last line is too recent. None where all start in no time."""
        if started and self._clock() - self._start_printed_s[game] >= PLAIN_LINE_EVERY_S:
            self._start_printed_s[game] = self._clock()
            self.message(f"{game}: {started_text(started, max(total, self._envs))}")

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
        for run in self._runs:
            if (row := self._progress.unheard(run)) is not None:
                self._progress.row(run.key, row)
                self._held_back[run.key] = row
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
