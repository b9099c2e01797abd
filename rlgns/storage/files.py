"""Files that survive a kill at any byte, locks on folders, and values as JSON has them."""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rlgns.errors import UserError


def lock(folder: Path, *, name: str = ".lock", patience_s: float = 0.0) -> int | None:
    """Locks a folder until the returned file handle is closed; None: another process holds the lock of this name.

    Raises UserError where the folder cannot be written. On a file system without locks every call succeeds.
    """
    try:
        handle = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {reason(error)}") from error
    give_up = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() >= give_up:
                os.close(handle)
                return None
            time.sleep(0.1)
        except OSError:
            return handle


def plain(value: Any) -> Any:
    """Returns `value` in the types of JSON: NaN and infinity become None, NumPy's and torch's scalars Python's."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return str(value)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file; after a kill or a power cut it has its old content or its new one. Raises OSError."""
    _write_then(path, content, os.replace)


def create_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Writes a file that must be new: of several processes one succeeds; a kill leaves the whole file or none.

    Raises:
        FileExistsError: There is one.
        OSError: It cannot be written.
    """
    _write_then(path, content, _put_new, mode=mode)


def _write_then(path: Path, content: bytes, put: Callable[[Path, Path], None], *, mode: int = 0o644) -> None:
    """Writes the content beside `path`, synced, and has `put` bring it there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            write_all(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        put(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # The rename itself lives in the directory.
    finally:
        os.close(directory)


def _put_new(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links here: claim the name first, then fill it
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        os.replace(temporary, path)
    else:
        temporary.unlink()


def link_or_copy(path: Path, target: Path) -> None:
    """Makes `target` a hard link to the file, or a copy where the file system has no links. Raises OSError."""
    target.unlink(missing_ok=True)
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def reason(error: OSError) -> str:
    """Returns why, in a few words: 'No space left on device'."""
    return error.strerror or str(error) or type(error).__name__


def write_all(handle: int, content: bytes) -> None:
    """Writes every byte, however many writes it takes. Raises OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]
