"""Ctrl-C, SIGTERM and SIGHUP: the first one lets a command finish and save, the second one stops it at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import final

from rlgns.errors import ExitCode, TerminatedError
from rlgns.monitor.listener import Listener
from rlgns.monitor.stop_signals import CODES, catch, leave_lost_terminal, restored

SAME_STOP_S = 1.0
"""A SIGTERM so soon after the first is the same stop: `timeout` sends one to the process and one to its group."""


@final
class Interrupt:
    """Notes that the user (Ctrl-C) or the system (SIGTERM, SIGHUP) asked to stop. The second time it stops at once.

    A second SIGHUP does not count: the kernel sends one when a terminal goes, and the shell another.
    """

    def __init__(
        self,
        listener: Listener,
        what: str = "the iteration under way is finished and saved",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the listener of the message, and `what` is finished before stopping."""
        self._listener, self._what, self._clock = listener, what, clock
        self._asked_s = 0.0
        self.asked = threading.Event()
        self.code: ExitCode | None = None
        """INTERRUPTED, TERMINATED or HUNG_UP, once asked."""

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catches the signals while the block runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        with restored():
            self.catch()
            yield

    def catch(self) -> None:
        """Catches the signals again, inside `caught`, after something else took them."""
        if threading.current_thread() is threading.main_thread():
            catch(self._ask)

    def _ask(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            leave_lost_terminal()
        if self.asked.is_set():
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            if number == signal.SIGTERM and self._clock() - self._asked_s >= SAME_STOP_S:
                raise TerminatedError
            return
        self._asked_s = self._clock()
        self.code = CODES[signal.Signals(number)]
        self.asked.set()
        again = {signal.SIGINT: "Ctrl-C again", signal.SIGTERM: "SIGTERM again"}.get(signal.Signals(number), "SIGTERM")
        with suppress(OSError):  # nobody reads it any more
            self._listener.message(f"stopping: {self._what} ({again}: stop at once)")
