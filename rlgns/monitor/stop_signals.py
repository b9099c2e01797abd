"""The signals that stop a command, and what is left of its output once its terminal is gone."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rlgns.errors import ExitCode

Handler = Callable[[int, FrameType | None], None]

CODES = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.HUNG_UP,
}
"""Exit code after each signal. SIGHUP comes when the terminal goes, as when an ssh session is closed."""


def catch(handler: Handler, *, interrupts: bool = True) -> None:
    """Sets the handler of every signal in CODES. SIGHUP stays ignored where it is: `nohup` asks for that.

    Args:
        handler: Gets the signal's number.
        interrupts: Whether Ctrl-C is one of them.
    """
    for number in CODES:
        ignored = number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN
        if not ignored and (interrupts or number != signal.SIGINT):
            signal.signal(number, handler)


@contextmanager
def restored() -> Iterator[None]:
    """Gives each signal the handler back that it had before the block."""
    before = {number: signal.getsignal(number) for number in CODES}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # set by something else than Python
                signal.signal(number, handler)


def leave_lost_terminal() -> None:
    """Lets standard output and error go nowhere where they were a terminal that is gone: writing there would fail."""
    for descriptor in (1, 2):
        with suppress(OSError):  # it is closed
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
