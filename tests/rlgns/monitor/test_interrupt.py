"""Ctrl-C, SIGTERM and SIGHUP, sent to this process."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

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


def test_a_terminal_that_goes_asks_once_however_many_signals_come() -> None:
    """The kernel sends a SIGHUP, and the shell another; only SIGTERM stops at once."""
    said, times = Said(), iter((10.0, 20.0))
    interrupt = Interrupt(said, "it is saved", clock=lambda: next(times))
    with interrupt.caught():
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(TerminatedError):
            os.kill(os.getpid(), signal.SIGTERM)
    assert interrupt.code is ExitCode.HUNG_UP == 129
    assert said.lines == ["stopping: it is saved (SIGTERM: stop at once)"]


def test_nohup_keeps_its_word() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        interrupt = Interrupt(Said())
        with interrupt.caught():
            os.kill(os.getpid(), signal.SIGHUP)
        assert not interrupt.asked.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_is_printed_to_a_terminal_that_is_gone_does_no_harm() -> None:
    """Standard error is a real terminal that goes; standard output, a pipe, still gets the result."""
    program = """
import sys
from rlgns.monitor.interrupt import Interrupt
from rlgns.monitor.listener import Listener
from rlgns.monitor.console import write_line

class Lines(Listener):
    def message(self, text):
        write_line(text)

interrupt = Interrupt(Lines())
with interrupt.caught():
    write_line("ready")
    interrupt.asked.wait(60)
write_line("nobody reads this")
print("the result", flush=True)
sys.exit(interrupt.code)
"""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=theirs, stdin=theirs, start_new_session=True
    )
    os.close(theirs)
    assert os.read(ours, 100).startswith(b"ready")
    os.close(ours)
    process.send_signal(signal.SIGHUP)  # the kernel sends it where the terminal is the process's own
    out, _ = process.communicate()
    assert (out, process.returncode) == (b"the result\n", 129)


def test_signals_are_caught_again_after_something_else_took_them() -> None:
    interrupt = Interrupt(Said())
    with interrupt.caught():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does when it starts
        interrupt.catch()
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupt.code is ExitCode.TERMINATED
