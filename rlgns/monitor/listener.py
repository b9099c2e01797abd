"""Listeners of a training session: the base class, whose methods do nothing, and a group that isolates failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

from rlgns.config.schema import Config
from rlgns.storage.run_folder import RunFolder

Row = Mapping[str, Any]
"""One object of metrics.jsonl (see `rlgns.metrics`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStart:
    """One game's run at the start of a session, new or resumed."""

    game: str
    folder: RunFolder
    config: Config
    wandb_id: str
    resumed: bool = False
    first_row: Row | None = None
    """Newest row logged by earlier sessions; None in a new run."""
    saved_observations: int = 0
    """Observations of the checkpoint that training resumes from, or 0; after a kill fewer than in `first_row`."""
    name: str = ""
    """Distinguishes runs of the same game within a session; empty: the game is enough."""
    job_type: str = "train"
    """Or `sweep`: W&B's name for what the run is part of."""

    @property
    def key(self) -> str:
        """Name under which listeners receive the run's rows: its `name`, else its game."""
        return self.name or self.game


class Listener:
    """Receives the events of a training session in the driver process, in the order of these methods. Does nothing."""

    def start(self, runs: list[RunStart]) -> None:
        """Called when training of these runs starts or resumes."""

    def starting(self, game: str, started: int, total: int) -> None:
        """Called before the first row of a session while environments start: so many of `total` have."""

    def row(self, game: str, row: Row) -> None:
        """Called when an iteration of `game` has ended and its row is in metrics.jsonl."""

    def repeated(self, game: str, row: Row) -> None:
        """Called instead of `row` where the iteration was logged before: a kill came before its checkpoint."""

    def message(self, text: str) -> None:
        """Shows one line to the user."""

    def end(self, outcome: str) -> None:
        """Called once when training stops, also after an error; `outcome`: `done`, `interrupted` or `fault`."""


@final
class CompositeListener(Listener):
    """Passes every event to several listeners. One that fails is removed; training and the others continue."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._listeners = list(listeners)

    def start(self, runs: list[RunStart]) -> None:
        """Passes the start on."""
        self._call_each(lambda listener: listener.start(runs))

    def starting(self, game: str, started: int, total: int) -> None:
        """Passes a count on."""
        self._call_each(lambda listener: listener.starting(game, started, total))

    def row(self, game: str, row: Row) -> None:
        """Passes a row on."""
        self._call_each(lambda listener: listener.row(game, row))

    def repeated(self, game: str, row: Row) -> None:
        """Passes a repeated row on."""
        self._call_each(lambda listener: listener.repeated(game, row))

    def message(self, text: str) -> None:
        """Passes a line on."""
        self._call_each(lambda listener: listener.message(text))

    def end(self, outcome: str) -> None:
        """Passes the end on."""
        self._call_each(lambda listener: listener.end(outcome))

    def _call_each(self, call: Callable[[Listener], None]) -> None:
        failed: list[str] = []
        for listener in list(self._listeners):
            try:
                call(listener)
            except Exception as error:  # A dead terminal or a full disk under W&B must not stop training.
                self._listeners.remove(listener)
                failed.append(f"{type(listener).__name__} failed and is switched off: {type(error).__name__}: {error}")
        for text in failed:  # Recursion ends: each round removes a listener.
            self.message(text)
