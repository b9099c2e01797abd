"""Ctrl-C and SIGTERM: the first one lets a command finish and save, the second one stops it at once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import final

from rlgns.errors import ExitCode, TerminatedError
from rlgns.monitor.listener import Listener

SAME_STOP_S = 1.0
"""A SIGTERM so soon after the first is the same stop: `timeout` sends one to the process and one to its group."""


@final
class Interrupt:
    """Notes that the user (Ctrl-C) or the system (SIGTERM) asked to stop. The second time it stops at once."""

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
        """INTERRUPTED or TERMINATED, once asked."""

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catches both signals while the block runs."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self.catch()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def catch(self) -> None:
        """Catches both signals again, inside `caught`, after something else took them."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._ask)

    def _ask(self, number: int, _: FrameType | None) -> None:
        terminated = number == signal.SIGTERM
        if self.asked.is_set():
            if not terminated:
                raise KeyboardInterrupt
            if self._clock() - self._asked_s >= SAME_STOP_S:
                raise TerminatedError
            return
        self._asked_s = self._clock()
        self.code = ExitCode.TERMINATED if terminated else ExitCode.INTERRUPTED
        self.asked.set()
        again = "SIGTERM" if terminated else "Ctrl-C"
        self._listener.message(f"stopping: {self._what} ({again} again: stop at once)")
