"""Several listeners in a group: one that fails harms neither training nor the others."""

from __future__ import annotations

from rlgns.monitor.listener import CompositeListener, Listener, Row
from tests.rows import make_row


class Tape(Listener):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def start(self, runs: list) -> None:
        self.heard.append("start")

    def row(self, game: str, row: Row) -> None:
        self.heard.append(f"{game} {row['iteration']}")

    def message(self, text: str) -> None:
        self.heard.append(text)

    def end(self, outcome: str) -> None:
        self.heard.append(outcome)


class Broken(Listener):
    def row(self, game: str, row: Row) -> None:
        raise OSError("no more")

    def message(self, text: str) -> None:
        raise OSError("no more either")


def test_a_broken_listener_is_switched_off() -> None:
    tape = Tape()
    listeners = CompositeListener([Broken(), tape, Broken()])
    listeners.start([])
    listeners.row("pong", make_row(1))
    listeners.row("pong", make_row(2))
    listeners.end("done")
    off = [line for line in tape.heard if "switched off" in line]
    assert len(off) == 2
    assert off[0].startswith("Broken failed and is switched off: OSError: no more")
    assert [line for line in tape.heard if line not in off] == ["start", "pong 1", "pong 2", "done"]
