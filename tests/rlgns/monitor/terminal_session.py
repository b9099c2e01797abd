"""What tests of the terminal share: three games, a clock, and what a screen shows."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from rlgns.config.schema import Config
from rlgns.monitor.listener import RunStart
from rlgns.monitor.terminal import LiveTerminal
from tests.rows import make_run

GAMES = ("pong", "montezuma_revenge", "breakout")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def starts(tmp_path: Path, config: Config) -> list[RunStart]:
    return [
        RunStart(game=game, folder=make_run(tmp_path / game, []), config=config, wandb_id=game)
        for game in config.run.games
    ]


def text_of(terminal: LiveTerminal, console: Console) -> str:
    with console.capture() as capture:
        console.print(terminal.render())
    return capture.get()
