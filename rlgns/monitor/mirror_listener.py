"""Keeps the mirrors of a session's runs up to date, in a thread of the driver. One that fails stops no training."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import final

from rlgns.errors import UserError
from rlgns.monitor.listener import Listener, RunStart
from rlgns.storage.mirror import RunMirror, is_one_of_several
from rlgns.storage.remote_folder import RemoteFolder

EVERY_S = 10.0
"""Seconds between two looks at what is new. Each costs a request or two for the rows, where there are new ones."""

LONGEST_WAIT_S = 60.0
"""Most seconds between two tries while a mirror fails."""

END_PATIENCE_S = 60.0
"""Seconds that the end of a session waits for the last copies."""


def mirror_of(run: RunStart) -> RunMirror:
    """Returns a run's mirror: at `output.mirror`, or, of several games or seeds, in a folder below it."""
    top, below = RemoteFolder(run.config.output.mirror), is_one_of_several(run.name, run.config.run.games)
    return RunMirror(run.folder, top / run.key if below else top, kept=run.config.engine.checkpoints_kept)


@final
class MirrorListener(Listener):
    """Copies rows and checkpoints of every run with `output.mirror` as they come.

    Args:
        say: Prints one line for the user.
        every_s: Seconds between two looks at what is new.
        patience_s: Seconds that the end of a session waits for the last copies.
    """

    def __init__(
        self, say: Callable[[str], None], *, every_s: float = EVERY_S, patience_s: float = END_PATIENCE_S
    ) -> None:
        self._say, self._every_s, self._patience_s = say, every_s, patience_s
        self._mirrors: list[RunMirror] = []
        self._failing: set[str] = set()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def claim(self, runs: Sequence[RunStart]) -> None:
        """Takes the mirrors, before anything is trained. Raises UserError where one belongs to another session."""
        for run in runs:
            if run.config.output.mirror:
                mirror = mirror_of(run)
                self._mirrors.append(mirror)
                self._attempt(mirror, mirror.claim)

    def start(self, runs: list[RunStart]) -> None:
        """Starts the thread."""
        if self._mirrors:
            url = runs[0].config.output.mirror
            self._say(f"mirror: rows and checkpoints go to {url}; on another machine: rlgns train --resume {url}")
            self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
            self._thread.start()

    def end(self, outcome: str) -> None:
        """Copies what is left, for a limited time, and says which mirror is behind."""
        if self._thread is None:
            return
        self._ending.set()
        give_up = time.monotonic() + self._patience_s
        self._thread.join(self._patience_s)
        while not self._thread.is_alive():
            left = [mirror for mirror in list(self._mirrors) if not self._copy(mirror, report=True)]
            if not left or time.monotonic() >= give_up:
                break
            time.sleep(min(1.0, self._patience_s))
        for mirror in self._mirrors:
            if mirror.behind():
                self._say(
                    f"mirror: {mirror.remote.url} lacks the newest rows or checkpoint; copy them with: "
                    f"rlgns train --resume {mirror.folder.path}"
                )

    def _work(self) -> None:
        wait_s = self._every_s
        while not self._ending.wait(wait_s):
            done = [self._copy(mirror) for mirror in list(self._mirrors)]
            wait_s = self._every_s if all(done) else min(2 * wait_s, LONGEST_WAIT_S)

    def _copy(self, mirror: RunMirror, *, report: bool = False) -> bool:
        try:
            return self._attempt(mirror, mirror.copy) and (not report or self._attempt(mirror, mirror.copy_report))
        except UserError as error:  # another machine has resumed the run
            self._mirrors.remove(mirror)
            self._say(f"copying has stopped: {error}")
            return True

    def _attempt(self, mirror: RunMirror, do: Callable[[], None]) -> bool:
        """Returns whether a copy succeeded. Says in a line where a mirror begins to fail, and where it works again."""
        url = mirror.remote.url
        try:
            do()
        except OSError as error:
            if url not in self._failing:
                self._say(f"mirror: {url} cannot be reached: {error}; training continues, and copying is tried again")
            self._failing.add(url)
            return False
        if url in self._failing:
            self._failing.discard(url)
            self._say(f"mirror: {url} works again")
        return True
