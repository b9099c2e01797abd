"""Folders for what only a running process needs. They are removed with it, or by the next start after a kill."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

PREFIX = "rlgns-"
OWNER = ".owner"
"""File in the folder that its process keeps locked."""

LONGEST = 24
"""Bytes of the path in which the folder is made. Ray's sockets lie up to 83 bytes below it, and 107 are allowed."""


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Makes a folder that only this user can open, for as long as the block runs.

    First removes those of this user whose processes were killed.
    """
    place = scratch_place(os.environ)
    remove_abandoned(place)
    folder, handle = _make(place)
    try:
        yield folder
    finally:
        for _ in range(2):  # a process that is ending may write during the first
            shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def scratch_place(environment: Mapping[str, str]) -> Path:
    """Returns RAY_TMPDIR or TMPDIR where they are set and short enough for Ray's sockets, else /tmp."""
    named = (environment.get(name, "") for name in ("RAY_TMPDIR", "TMPDIR"))
    return next((Path(path) for path in named if 0 < len(os.fsencode(path)) <= LONGEST), Path("/tmp"))


def remove_abandoned(place: Path) -> list[Path]:
    """Removes the folders of this user in `place` that no living process owns; returns them."""
    removed = []
    for folder in sorted(place.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):  # no such file: not ours; locked: in use; no locks here: not known
            if folder.stat().st_uid != os.getuid():
                continue
            handle = os.open(folder / OWNER, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
            finally:
                os.close(handle)
    return removed


def _make(place: Path) -> tuple[Path, int]:
    """Returns a new folder, and the handle that locks it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        owner = folder / OWNER
        handle = os.open(owner, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = owner.exists()
        except BlockingIOError:
            mine = False
        except OSError:  # a file system without locks, where nobody removes it
            mine = True
        if mine:
            return folder, handle
        os.close(handle)  # another start took it for abandoned, between its making and its lock
