"""A run's copy in a remote folder: rows and checkpoints as they come, and how another machine takes the run over.

config.yaml                         written first; without it there is no run
session.json                        which session may write here
metrics/000000000000.jsonl          rows from that byte of metrics.jsonl on; 2 to 4 MiB each, the last one grows
checkpoints/00000012/state.pt       the checkpoint
checkpoints/00000012/complete.json  its size and SHA-256, written after it: without them it does not exist
report.html                         at the end of a session
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from rlgns.errors import UserError
from rlgns.storage.checkpoint import STATE, numbered
from rlgns.storage.files import write_atomically
from rlgns.storage.remote_folder import RemoteFolder
from rlgns.storage.run_folder import RunFolder

SEGMENT_BYTES = 2**22
"""The most that a file of rows holds. From half of it on, it is closed and the next one begins."""

CONFIG, SESSION, REPORT, COMPLETE = "config.yaml", "session.json", "report.html", "complete.json"

KNOWN = ".mirror.json"
"""In the run's local folder: the sessions that wrote to the mirror from here, by URL."""


@final
class RunMirror:
    """Copies one run. Not safe for threads. Methods raise OSError where the store or the disk fails: try again.

    Args:
        folder: The run.
        remote: Its mirror.
        kept: Checkpoints to keep there.
    """

    def __init__(self, folder: RunFolder, remote: RemoteFolder, *, kept: int) -> None:
        self.folder, self.remote = folder, remote
        self._kept = kept
        self._session = ""
        self._segment = 0  # where the newest file of rows begins
        self._copied = 0  # bytes of metrics.jsonl that are there
        self._checkpoint = ""

    def check_free(self) -> None:
        """Raises UserError where the mirror holds a run already, or cannot be written."""
        try:
            if self.remote.read(CONFIG) is not None:
                raise self._taken()
            self.remote.write(SESSION, b"{}\n")
        except OSError as error:
            raise UserError(f"--mirror {self.remote.url}: cannot be written: {error}") from error

    def claim(self) -> None:
        """Takes the mirror for this session. Raises UserError where another machine has taken it since, or before."""
        there, known = (self.remote.read_json(SESSION) or {}).get("session"), self._known()
        if self.remote.read(CONFIG) is not None and there not in known.get(self.remote.url, []):
            raise self._taken()
        session = secrets.token_hex(8)
        # Both, since a kill may come before the mirror has the new one
        note_sessions(self.folder, known | {self.remote.url: [there, session]})
        self.remote.write(SESSION, json.dumps({"session": session}).encode())
        self._session = session
        self.remote.write(CONFIG, self.folder.config_path.read_bytes())
        self._segment, self._copied = self._agreement()

    def copy(self) -> None:
        """Copies what is new: rows first, so that they reach as far as the checkpoint. Raises UserError as `claim`."""
        if not self._session:
            self.claim()
        saved = numbered(self.folder.checkpoints_path)
        newest = saved[-1] if saved and saved[-1].name != self._checkpoint else None
        if newest is None and self._new_rows() == b"":
            return
        if (self.remote.read_json(SESSION) or {}).get("session") != self._session:
            raise self._taken()
        while rows := self._new_rows():
            self.remote.write(segment_name(self._segment), rows)
            self._segment, self._copied = _after(self._segment, self._segment + len(rows))
        if newest is not None:
            self._copy_checkpoint(newest)

    def copy_report(self) -> None:
        """Copies the report, if there is one."""
        if self._session and self.folder.report_path.is_file():
            self.remote.upload(self.folder.report_path, REPORT)

    def behind(self) -> bool:
        """Returns whether rows or a checkpoint are not there yet. Looks at this machine alone."""
        saved = numbered(self.folder.checkpoints_path)
        return bool(self._new_rows()) or bool(saved and saved[-1].name != self._checkpoint)

    def _new_rows(self) -> bytes:
        """Returns the complete rows of the newest file of rows, at most SEGMENT_BYTES; empty where none is new."""
        content = self._read(self._segment, SEGMENT_BYTES)
        rows = content[: content.rfind(b"\n") + 1]
        return rows if self._segment + len(rows) > self._copied else b""

    def _copy_checkpoint(self, path: Path) -> None:
        name = f"checkpoints/{path.name}"
        sums = self.remote.upload(path / STATE, f"{name}/{STATE}")
        self.remote.write(f"{name}/{COMPLETE}", json.dumps(sums).encode())
        self._checkpoint = path.name
        # A later one was torn and passed over: it stays until training has passed it
        there = sorted(old for old in self.remote.names("checkpoints") if old.isdigit() and old <= path.name)
        for old in there[: -self._kept]:
            self.remote.remove(f"checkpoints/{old}/{COMPLETE}")
            self.remote.remove_folder(f"checkpoints/{old}")

    def _agreement(self) -> tuple[int, int]:
        """Returns where the newest file of rows begins, and up to where the mirror has the rows of this folder.

        Removes files of rows behind that: a power cut may have taken rows here that the mirror has, and training then
        wrote others.
        """
        found, there = [offset for offset, _ in segments(self.remote)], b""
        while found:
            there = self.remote.read(segment_name(found[-1])) or b""
            if there == self._read(found[-1], len(there)):
                break
            found.pop()
        for name in {f"metrics/{name}" for name in self.remote.names("metrics")} - set(map(segment_name, found)):
            self.remote.remove(name)
        return _after(found[-1], found[-1] + len(there)) if found else (0, 0)

    def _read(self, start: int, size: int) -> bytes:
        """Returns bytes of metrics.jsonl."""
        try:
            with self.folder.metrics_path.open("rb") as file:
                file.seek(start)
                return file.read(size)
        except FileNotFoundError:
            return b""

    def _known(self) -> dict[str, Any]:
        try:
            known = json.loads((self.folder.path / KNOWN).read_bytes())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _taken(self) -> UserError:
        return UserError(
            f"--mirror {self.remote.url}: holds another run, or this one as another machine resumed it; resume that "
            f"with `rlgns train --resume {self.remote.url}`, or name another URL"
        )


def is_one_of_several(name: object, games: Sequence[object]) -> bool:
    """Returns whether a run's mirror is a folder below the URL that was given, beside those of other games or seeds.

    Args:
        name: The run's `name`: not empty if it was trained with --seeds.
        games: Its `run.games`.
    """
    return bool(name) or len(games) > 1


def segment_name(offset: int) -> str:
    """Returns the name of the file of rows that begins at a byte of metrics.jsonl."""
    return f"metrics/{offset:012d}.jsonl"


def segments(remote: RemoteFolder) -> list[tuple[int, int]]:
    """Returns offset and size of the files of rows that follow each other without a gap, in order."""
    found: list[tuple[int, int]] = []
    for name, size in sorted(remote.names("metrics").items()):
        offset = name.removesuffix(".jsonl")
        if offset.isdigit() and int(offset) == sum(found[-1] if found else (0, 0)):
            found.append((int(offset), size))
    return found


def _after(start: int, end: int) -> tuple[int, int]:
    """Returns where the newest file of rows begins, and `end`: a file that is long enough is closed."""
    return (end if end - start >= SEGMENT_BYTES // 2 else start), end


def note_sessions(folder: RunFolder, sessions: dict[str, Any]) -> None:
    """Writes down which sessions of a mirror are those of this folder."""
    write_atomically(folder.path / KNOWN, json.dumps(sessions).encode())
