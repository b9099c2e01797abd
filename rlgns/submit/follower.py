"""Follows a job to its end: its log on standard output, Ctrl-C as stop, over connections that break."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol, final

from rlgns.errors import ExitCode, FaultError, UserError

FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 15.0
PATIENCE_S = 600.0
"""Seconds without any answer after which the follower leaves; the job goes on without it."""

CHECK_S = 10.0
"""Seconds of silence after which the follower asks whether the cluster is still there, and what the job waits for."""

OLD_LINES = 50
"""Lines of what was logged before that are shown again to one who attaches later."""

_TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")


class Jobs(Protocol):
    """What is needed of Ray's JobSubmissionClient."""

    url: str

    def get_job_info(self, job_id: str) -> Any:
        """Returns the job's details."""

    def get_job_logs(self, job_id: str) -> str:
        """Returns the whole log."""

    def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """Yields the log from its beginning, and ends with the job."""

    def stop_job(self, job_id: str) -> bool:
        """Asks the job to stop."""


@final
class JobFollower:
    """Follows one job.

    Args:
        client: Of the job's cluster.
        job: Submission id.
        say: Takes one line for the person who watches.
        patience_s: Seconds without any answer after which it gives up.
        check_s: Seconds of silence after which it asks whether the cluster is there, and what the job waits for.
    """

    def __init__(
        self,
        client: Jobs,
        job: str,
        say: Callable[[str], None],
        patience_s: float = PATIENCE_S,
        check_s: float = CHECK_S,
    ) -> None:
        self._client, self._job, self._say = client, job, say
        self._patience_s, self._check_s = patience_s, check_s
        self._shown = 0  # characters of the log; a new connection begins at its start again
        self._stops = 0
        self._began_at = self._heard_at = time.monotonic()
        self._waits_for = ""

    def follow(self, *, attach: bool = False) -> int:
        """Shows the log until the job ends, and returns its exit status.

        Args:
            attach: The job was submitted before: begin with the last lines of its log.

        Returns:
            The status of the job's command; 130 where it was stopped, or where the user left; 3 where it never began.

        Raises:
            FaultError: The cluster did not answer for too long.
            UserError: There is no such job (any more).
        """
        return asyncio.run(self._follow(attach))

    def again(self) -> str:
        """Returns the command that attaches to the job."""
        return f"rlgns submit --address {self._client.url} --job {self._job}"

    def _show_old(self) -> None:
        log = self._client.get_job_logs(self._job)
        lines = log.splitlines(keepends=True)
        if len(lines) > OLD_LINES:
            self._say(f"the last {OLD_LINES} of {len(lines)} lines so far")
        sys.stdout.write("".join(lines[-OLD_LINES:]))
        sys.stdout.flush()
        self._shown = len(log)

    async def _follow(self, attach: bool) -> int:
        loop, leave = asyncio.get_running_loop(), asyncio.Event()
        stopping: set[asyncio.Task[None]] = set()

        def interrupt() -> None:
            self._stops += 1
            if self._stops > 1:
                leave.set()
                return
            self._say("stopping the job, which first saves (Ctrl-C again: leave it alone with that)")
            stopping.add(asyncio.create_task(self._stop()))

        caught = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        for number in caught:
            loop.add_signal_handler(number, interrupt)
        try:
            ended = asyncio.create_task(self._until_end(attach))
            left = asyncio.create_task(leave.wait())
            await asyncio.wait((ended, left), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return ended.result()
            ended.cancel()
            self._say(f"left; the job is being stopped all the same. Attach to it with: {self.again()}")
            return ExitCode.INTERRUPTED
        finally:
            for number in caught:
                loop.remove_signal_handler(number)

    async def _stop(self) -> None:
        """Hands on the wish to stop, again and again where the cluster does not answer."""
        while True:
            try:
                await asyncio.to_thread(self._client.stop_job, self._job)
                return
            except Exception as error:
                self._say(f"the cluster did not take the stop ({_short(error)}); trying again")
                await asyncio.sleep(LONGEST_RETRY_S)

    async def _until_end(self, attach: bool) -> int:
        if attach:
            await asyncio.to_thread(self._show_old)  # not before Ctrl-C is caught: whoever sees the log may press it
        wait_s, lost = FIRST_RETRY_S, False
        while True:
            try:
                before = self._shown
                await self._tail()
                info = await asyncio.to_thread(self._client.get_job_info, self._job)
                self._heard_at = time.monotonic()
                if str(info.status) in _TERMINAL:
                    return self._conclude(info)
                self._tell_wait(info)
                if lost or self._shown > before:
                    wait_s, lost = FIRST_RETRY_S, False
            except Exception as error:
                self._refuse_unknown(error)
                silent_s = time.monotonic() - self._heard_at
                if silent_s > self._patience_s:
                    raise FaultError(
                        f"{self._client.url} has not answered for {silent_s:.0f} s; the job goes on if its cluster "
                        f"does. Attach to it with: {self.again()}"
                    ) from error
                if not lost:
                    self._say(f"connection lost ({_short(error)}); trying again, the job goes on meanwhile")
                lost = True
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_RETRY_S)

    async def _tail(self) -> None:
        """Shows what is new of the log until the connection or the job ends. A connection that hangs is an error."""
        skip, chunks = self._shown, self._client.tail_job_logs(self._job)
        following: asyncio.Task[str] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(chunks))
                done, _ = await asyncio.wait((following,), timeout=self._check_s)
                if not done:
                    info = await asyncio.to_thread(self._client.get_job_info, self._job)  # raises where nothing answers
                    self._heard_at = time.monotonic()
                    self._tell_wait(info)
                    continue
                try:
                    chunk = following.result()
                except StopAsyncIteration:
                    return
                following, self._heard_at = None, time.monotonic()
                new, skip = chunk[skip:], max(0, skip - len(chunk))
                if new:
                    sys.stdout.write(new)
                    sys.stdout.flush()
                    self._shown += len(new)
        finally:
            if following is not None:
                following.cancel()

    def _tell_wait(self, info: Any) -> None:
        """Says what a job waits for that has not begun for a while, once."""
        waits_for = _short(info.message or "") if str(info.status) == "PENDING" else ""
        if waits_for != self._waits_for and time.monotonic() - self._began_at > self._check_s:
            self._waits_for = waits_for
            if waits_for:
                self._say(f"waiting: {waits_for}")

    def _refuse_unknown(self, error: Exception) -> None:
        text = str(error)
        if "404" in text or "does not exist" in text:
            raise UserError(
                f"there is no job {self._job!r} at {self._client.url}; `ray job list` names them"
            ) from error

    def _conclude(self, info: Any) -> int:
        status, code = str(info.status), info.driver_exit_code
        if status == "SUCCEEDED":
            return ExitCode.DONE
        if status == "STOPPED":
            self._say("the job was stopped")
            return ExitCode.INTERRUPTED
        if code is None:
            self._say(f"the job failed before its command began: {_both_ends(info.message or 'no reason given')}")
            return ExitCode.FAULT
        return int(code)


def _short(error: object) -> str:
    """The first line of an error, or its kind."""
    lines = _lines(error)
    return lines[0][:300] if lines else type(error).__name__


def _both_ends(message: str) -> str:
    """The first line, which says what failed, and the last, where tracebacks and pip say why."""
    first, *others = _lines(message)
    return f"{first[:300]} {others[-1][:300]}" if others else first[:300]


def _lines(text: object) -> list[str]:
    return [line.strip() for line in str(text).splitlines() if line.strip()]
