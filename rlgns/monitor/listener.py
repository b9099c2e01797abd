"""What the training loop tells, and to whom: listeners that do nothing unless they override."""

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
    """One game's run, as it is when training begins or goes on."""

    game: str
    folder: RunFolder
    config: Config
    wandb_id: str
    resumed: bool = False
    first_row: Row | None = None
    """Newest row that was logged before, or None in a fresh run."""
    name: str = ""
    """Tells runs of a session apart where the game does not."""

    @property
    def key(self) -> str:
        """What listeners are told the run's rows under: its name, or else its game."""
        return self.name or self.game


class Listener:
    """Hears of a training session; every method does nothing. All are called from the driver process, in this order."""

    def start(self, runs: list[RunStart]) -> None:
        """Training of these games begins, or goes on."""

    def row(self, game: str, row: Row) -> None:
        """An iteration of `game` ended and its row is in metrics.jsonl."""

    def message(self, text: str) -> None:
        """One line for the person who watches."""

    def end(self, outcome: str) -> None:
        """Training stopped: `done`, `interrupted` or `fault`. Called once, also after an error."""


@final
class Listeners(Listener):
    """Tells several listeners the same. One that fails is told nothing more; training and the others go on."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._listeners = list(listeners)

    def start(self, runs: list[RunStart]) -> None:
        """Tells all that training begins."""
        self._tell(lambda listener: listener.start(runs))

    def row(self, game: str, row: Row) -> None:
        """Tells all of a row."""
        self._tell(lambda listener: listener.row(game, row))

    def message(self, text: str) -> None:
        """Tells all a line."""
        self._tell(lambda listener: listener.message(text))

    def end(self, outcome: str) -> None:
        """Tells all that training stopped."""
        self._tell(lambda listener: listener.end(outcome))

    def _tell(self, call: Callable[[Listener], None]) -> None:
        failed: list[str] = []
        for listener in list(self._listeners):
            try:
                call(listener)
            except Exception as error:  # A dead terminal or a full disk under W&B must not stop training.
                self._listeners.remove(listener)
                failed.append(f"{type(listener).__name__} is switched off, it failed: {type(error).__name__}: {error}")
        for text in failed:  # Every round loses a listener, so this ends.
            self.message(text)
