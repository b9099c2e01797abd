"""Ctrl-C and SIGTERM, sent to this process."""

from __future__ import annotations

import os
import signal

import pytest

from rlgns.errors import ExitCode, TerminatedError
from rlgns.monitor.interrupt import SAME_STOP_S, Interrupt
from rlgns.monitor.listener import Listener


class Said(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(
    ("number", "code", "again", "raised"),
    [
        (signal.SIGINT, ExitCode.INTERRUPTED, "Ctrl-C", KeyboardInterrupt),
        (signal.SIGTERM, ExitCode.TERMINATED, "SIGTERM", TerminatedError),
    ],
)
def test_the_first_signal_asks_and_the_second_stops(
    number: signal.Signals, code: ExitCode, again: str, raised: type[BaseException]
) -> None:
    said, times = Said(), iter((10.0, 10.0 + SAME_STOP_S))
    interrupt = Interrupt(said, "it is saved", clock=lambda: next(times))
    before = signal.getsignal(number)
    with interrupt.caught():
        os.kill(os.getpid(), number)
        assert interrupt.asked.is_set()
        assert interrupt.code is code
        with pytest.raises(raised):
            os.kill(os.getpid(), number)
    assert said.lines == [f"stopping: it is saved ({again} again: stop at once)"]
    assert signal.getsignal(number) is before


def test_a_second_sigterm_at_once_is_the_same_stop() -> None:
    """`timeout` sends one to the process and one to its group."""
    said, times = Said(), iter((10.0, 10.0 + SAME_STOP_S / 2))
    interrupt = Interrupt(said, clock=lambda: next(times))
    with interrupt.caught():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert len(said.lines) == 1


def test_signals_are_caught_again_after_something_else_took_them() -> None:
    interrupt = Interrupt(Said())
    with interrupt.caught():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does when it starts
        interrupt.catch()
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupt.code is ExitCode.TERMINATED
