"""A folder in an object store or on a network disk, by its URL: s3://, gs://, file://, or what fsspec finds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

from rlgns.errors import one_line

BLOCK = 2**22
"""Bytes that a copy holds in memory."""

OPTIONS = {"s3": "allow_delayed_open=true", "gs": "retry_limit_seconds=20"}
"""By scheme, what Arrow reads behind a URL: a small S3 object costs one request, and Google's client gives up."""


def is_url(place: str) -> bool:
    """Returns whether a place is a URL; a path is none."""
    return "://" in place


@final
class RemoteFolder:
    """Reads and writes whole files below a URL. Every method raises OSError where the store fails, in one line.

    Credentials come from where the store's own tools look: variables of the environment (AWS_ACCESS_KEY_ID,
    AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS), their files, or the machine's role. None is in the URL.
    A file is replaced whole: a reader finds its old content or its new one.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._connected: tuple[Any, str] | None = None

    def __truediv__(self, name: str) -> RemoteFolder:
        return RemoteFolder(f"{self.url}/{name}")

    def read(self, name: str) -> bytes | None:
        """Returns a file's content; None where there is no such file."""
        with self._store() as (store, root):
            try:
                with store.open_input_stream(f"{root}/{name}") as file:
                    return bytes(file.read())
            except FileNotFoundError:
                return None

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Returns a file's JSON object; None where there is no such file, or something else in it."""
        try:
            found = json.loads(self.read(name) or b"")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def write(self, name: str, content: bytes) -> None:
        """Writes a file."""
        with self._put(name) as file:
            file.write(content)

    def upload(self, path: Path, name: str) -> dict[str, Any]:
        """Copies a local file here. Returns its `bytes` and `sha256`."""
        with path.open("rb") as source, self._put(name) as file:
            return _copy(source, file)

    def download(self, name: str, path: Path) -> dict[str, Any]:
        """Copies a file from here into a new local one. Returns its `bytes` and `sha256`; {} without one."""
        with self._store() as (store, root), path.open("wb") as target:
            try:
                with store.open_input_stream(f"{root}/{name}") as file:
                    sums = _copy(file, target)
            except FileNotFoundError:
                return {}
            target.flush()
            os.fsync(target.fileno())
        return sums

    def names(self, folder: str = "") -> dict[str, int]:
        """Returns the names directly below a folder with their sizes; a folder's size is -1."""
        from pyarrow.fs import FileSelector, FileType

        with self._store() as (store, root):
            found = store.get_file_info(FileSelector(f"{root}/{folder}".rstrip("/"), allow_not_found=True))
        return {entry.base_name: entry.size if entry.type is FileType.File else -1 for entry in found}

    def remove(self, name: str) -> None:
        """Removes a file, if there is one."""
        with self._store() as (store, root):
            try:
                store.delete_file(f"{root}/{name}")
            except FileNotFoundError:
                return

    def remove_folder(self, name: str) -> None:
        """Removes a folder and all in it, if there is one."""
        with self._store() as (store, root):
            try:
                store.delete_dir(f"{root}/{name}")
            except FileNotFoundError:
                return

    @contextmanager
    def _put(self, name: str) -> Iterator[Any]:
        """Yields a stream whose content becomes the file once the block ends."""
        from pyarrow.fs import LocalFileSystem

        with self._store() as (store, root):
            path = f"{root}/{name}"
            if not isinstance(store, LocalFileSystem):  # a store shows an object once it is complete
                with store.open_output_stream(path) as file:
                    yield file
                return
            folder, _, base = path.rpartition("/")
            store.create_dir(folder)
            partial = f"{folder}/.partial-{base}"
            with store.open_output_stream(partial) as file:
                yield file
            store.move(partial, path)

    @contextmanager
    def _store(self) -> Iterator[tuple[Any, str]]:
        """Yields the store and the folder's path in it. Errors become OSErrors of one line."""
        try:
            self._connected = self._connected or _connect(self.url)
            yield self._connected
        except Exception as error:  # Arrow and fsspec raise many types
            raise OSError(one_line(error)[:300]) from error


def _connect(url: str) -> tuple[Any, str]:
    """Returns a file system and the path of a URL in it."""
    from pyarrow import fs

    scheme, _, place = url.partition("://")
    scheme = "gs" if scheme == "gcs" else scheme  # fsspec's other name for Google's store
    if scheme in ("file", "gs", "s3"):
        options = OPTIONS.get(scheme)
        with suppress(NotImplementedError):  # an Arrow that was built without this store
            store, path = fs.FileSystem.from_uri(f"{scheme}://{place}" + (f"?{options}" if options else ""))
            return store, path
    import fsspec

    other, path = fsspec.core.url_to_fs(url)
    return fs.PyFileSystem(fs.FSSpecHandler(other)), path


def _copy(source: Any, target: Any) -> dict[str, Any]:
    """Copies all bytes. Returns how many, and their SHA-256."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(BLOCK):
        target.write(block)
        digest.update(block)
        size += len(block)
    return {"bytes": size, "sha256": digest.hexdigest()}
