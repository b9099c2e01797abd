"""Follows a job to its end: prints its log, passes Ctrl-C on as a stop, and reconnects when the connection breaks."""

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
"""Seconds without an answer after which the follower gives up; the job continues without it."""

CHECK_S = 10.0
"""Seconds of silence after which the follower asks the cluster for the job's state."""

OLD_LINES = 50
"""Lines of the earlier log that are shown when attaching."""

_TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")


class JobsApi(Protocol):
    """The part of Ray's JobSubmissionClient that a follower uses."""

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
        client: Client of the job's cluster.
        job: Submission id.
        say: Prints one line for the user.
        patience_s: Seconds without an answer after which it gives up.
        check_s: Seconds of silence after which it asks the cluster for the job's state.
    """

    def __init__(
        self,
        client: JobsApi,
        job: str,
        say: Callable[[str], None],
        patience_s: float = PATIENCE_S,
        check_s: float = CHECK_S,
    ) -> None:
        self._client, self._job, self._say = client, job, say
        self._patience_s, self._check_s = patience_s, check_s
        self._shown = 0  # characters of the log; a new connection sends it from the beginning
        self._interrupts = 0
        self._began_at = self._heard_at = time.monotonic()
        self._waits_for = ""

    def follow(self, *, attach: bool = False) -> int:
        """Shows the log until the job ends, and returns its exit status.

        Args:
            attach: Whether the job was submitted earlier: start with the last lines of its log.

        Returns:
            The status of the job's command; 130 where it was stopped or the user left; 3 where it never started.

        Raises:
            FaultError: The cluster did not answer for too long.
            UserError: There is no such job, or no longer.
        """
        return asyncio.run(self._follow(attach))

    def attach_command(self) -> str:
        """Returns the command that attaches to the job."""
        return f"rlgns submit --address {self._client.url} --job {self._job}"

    def _show_earlier_log(self) -> None:
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
            self._interrupts += 1
            if self._interrupts > 1:
                leave.set()
                return
            self._say("stopping the job, which saves first (Ctrl-C again: leave without waiting for it)")
            stopping.add(asyncio.create_task(self._stop()))

        caught = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        for number in caught:
            loop.add_signal_handler(number, interrupt)
        try:
            end = asyncio.create_task(self._until_end(attach))
            left = asyncio.create_task(leave.wait())
            await asyncio.wait((end, left), return_when=asyncio.FIRST_COMPLETED)
            if end.done():
                return end.result()
            end.cancel()
            self._say(f"left; the job still saves and stops. Attach to it with: {self.attach_command()}")
            return ExitCode.INTERRUPTED
        finally:
            for number in caught:
                loop.remove_signal_handler(number)

    async def _stop(self) -> None:
        """Asks the job to stop; retries until the cluster takes it."""
        while True:
            try:
                await asyncio.to_thread(self._client.stop_job, self._job)
                return
            except Exception as error:
                self._say(f"the cluster did not take the stop ({_first_line(error)}); trying again")
                await asyncio.sleep(LONGEST_RETRY_S)

    async def _until_end(self, attach: bool) -> int:
        if attach:
            await asyncio.to_thread(
                self._show_earlier_log
            )  # only now that Ctrl-C is caught: who sees the log may press it
        wait_s, lost = FIRST_RETRY_S, False
        while True:
            try:
                before = self._shown
                await self._tail()
                info = await asyncio.to_thread(self._client.get_job_info, self._job)
                self._heard_at = time.monotonic()
                if str(info.status) in _TERMINAL:
                    return self._conclude(info)
                self._report_wait(info)
                if lost or self._shown > before:
                    wait_s, lost = FIRST_RETRY_S, False
            except Exception as error:
                self._raise_if_unknown(error)
                silent_s = time.monotonic() - self._heard_at
                if silent_s > self._patience_s:
                    raise FaultError(
                        f"{self._client.url} has not answered for {silent_s:.0f} s; the job continues if its "
                        f"cluster does. Attach to it with: {self.attach_command()}"
                    ) from error
                if not lost:
                    self._say(f"connection lost ({_first_line(error)}); trying again, the job continues meanwhile")
                lost = True
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_RETRY_S)

    async def _tail(self) -> None:
        """Prints what is new in the log until the connection or the job ends. A connection that hangs raises."""
        skip, chunks = self._shown, self._client.tail_job_logs(self._job)
        following: asyncio.Task[str] | None = None
        try:
            while True:
                following = following or asyncio.ensure_future(anext(chunks))
                done, _ = await asyncio.wait((following,), timeout=self._check_s)
                if not done:
                    info = await asyncio.to_thread(self._client.get_job_info, self._job)  # raises where nothing answers
                    self._heard_at = time.monotonic()
                    self._report_wait(info)
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

    def _report_wait(self, info: Any) -> None:
        """Says once what a job waits for that has not started for a while."""
        waits_for = _first_line(info.message or "") if str(info.status) == "PENDING" else ""
        if waits_for != self._waits_for and time.monotonic() - self._began_at > self._check_s:
            self._waits_for = waits_for
            if waits_for:
                self._say(f"waiting: {waits_for}")

    def _raise_if_unknown(self, error: Exception) -> None:
        text = str(error)
        if "404" in text or "does not exist" in text:
            raise UserError(
                f"there is no job {self._job!r} at {self._client.url}; `ray job list` lists the jobs"
            ) from error

    def _conclude(self, info: Any) -> int:
        status, code = str(info.status), info.driver_exit_code
        if status == "SUCCEEDED":
            return ExitCode.DONE
        if status == "STOPPED":
            self._say("the job was stopped")
            return ExitCode.INTERRUPTED
        if code is None:
            self._say(
                f"the job failed before its command started: {_first_and_last_line(info.message or 'no reason given')}"
            )
            return ExitCode.FAULT
        return int(code)


def _first_line(error: object) -> str:
    """Returns the first line of an error, or the name of its type."""
    lines = _lines(error)
    return lines[0][:300] if lines else type(error).__name__


def _first_and_last_line(message: str) -> str:
    """Returns the first line, which says what failed, and the last, where tracebacks and pip say why."""
    first, *others = _lines(message)
    return f"{first[:300]} {others[-1][:300]}" if others else first[:300]


def _lines(text: object) -> list[str]:
    return [line.strip() for line in str(text).splitlines() if line.strip()]
