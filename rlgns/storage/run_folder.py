"""A run's folder: its layout, and files that survive a kill at any byte."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, final

from rlgns.config.files import read_yaml, yaml_text
from rlgns.errors import FaultError, UserError
from rlgns.metrics.row_check import checked_row
from rlgns.storage.files import create_atomically, lock, plain, reason, write_all, write_atomically
from rlgns.storage.row_lines import all_rows, newest_row

Read = TypeVar("Read")

LOCK_PATIENCE_S = 60.0
"""Seconds to wait for a process that still trains the run: Ray takes some to end the trials of a killed driver."""


@final
class RunFolder:
    """One game's run on disk: config.yaml, metrics.jsonl, checkpoints/, report.html and W&B's wandb/.

    metrics.jsonl has one JSON object per line, appended in a single write and closed by a newline. A line without its
    newline was torn by a kill: readers skip it and `drop_torn_line` removes it before a resumed run appends.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config_path = self.path / "config.yaml"
        self.metrics_path = self.path / "metrics.jsonl"
        self.checkpoints_path = self.path / "checkpoints"
        self.report_path = self.path / "report.html"
        self.wandb_path = self.path / "wandb"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @classmethod
    def find(cls, path: str | os.PathLike[str]) -> list[RunFolder]:
        """Returns the run in `path` itself, or else those in the folders directly below it, by name.

        Raises:
            UserError: There is none, or the folder cannot be read.
        """
        top = Path(path)
        try:
            if (top / "config.yaml").is_file():
                return [cls(top)]
            found = [cls(child) for child in sorted(top.iterdir()) if (child / "config.yaml").is_file()]
        except OSError as error:
            raise UserError(f"cannot read {top}: {reason(error)}") from error
        if not found:
            raise UserError(f"no run found in {top}: neither it nor a folder directly below it holds a config.yaml")
        return found

    def lock(self, *, patience_s: float = LOCK_PATIENCE_S) -> int:
        """Locks the run, so that no other process trains it.

        Two processes would write the same iterations twice. A trial whose driver was killed lives on for a moment, and
        one that lost its cluster for longer.

        Args:
            patience_s: Seconds to wait for another process to release the lock.

        Returns:
            An open file handle; the lock is released when it is closed or the process ends.

        Raises:
            UserError: Another process still holds the lock, or the folder cannot be written.
        """
        handle = lock(self.path, patience_s=patience_s)
        if handle is None:
            raise self._in_use()
        return handle

    @contextmanager
    def claimed(self, *, patience_s: float = LOCK_PATIENCE_S) -> Iterator[None]:
        """Keeps the run for this driver while the block runs: a second driver is refused at once.

        The trial's own lock (`lock`) is free inside the block, for the trial is another process. It may still be held
        by the trial of a driver that was killed.

        Args:
            patience_s: Seconds to wait for such a trial.

        Raises:
            UserError: Another driver has the run, its trial still runs, or the folder cannot be written.
        """
        handle = lock(self.path, name=".driver.lock")
        if handle is None:
            raise self._in_use()
        try:
            os.close(self.lock(patience_s=patience_s))
            yield
        finally:
            os.close(handle)

    def _in_use(self) -> UserError:
        return UserError(f"{self.path}: another process is training this run; stop it, or wait for its end")

    def create(self, config: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        """Makes the folder and writes config.yaml, whole or not at all. Of several processes only one succeeds.

        Args:
            config: The resolved configuration, plain types.
            about: What else identifies the run: game, wandb_id, created, versions, hardware, protocol, git.

        Raises:
            UserError: A run is there already, or the folder cannot be written.
        """
        text = yaml_text({"config": plain(config), "run": plain(about)})
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            create_atomically(self.config_path, text.encode())  # first: without it nothing else makes a run
            self.checkpoints_path.mkdir(exist_ok=True)
            # Fails now, not after an hour of training, where lines cannot be appended.
            os.close(os.open(self.metrics_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644))
        except FileExistsError as error:
            if not self.config_path.exists():  # something else is in the way
                raise UserError(f"cannot write {error.filename or self.path}: {reason(error)}") from error
            raise UserError(
                f"{self.path} already holds a run: continue it with --resume {self.path} or name another --out"
            ) from error
        except OSError as error:
            raise UserError(f"cannot write {error.filename or self.path}: {reason(error)}") from error

    def extend(self, observations: int) -> None:
        """Changes `run.observations` in config.yaml, whole or not at all; the section `run` keeps the earlier values.

        Raises:
            UserError: The file cannot be read or written.
        """
        config, about = self.config(), self.about()
        earlier = [*about.get("earlier_observations", ()), config["run"]["observations"]]
        content = {
            "config": {**config, "run": {**config["run"], "observations": observations}},
            "run": {**about, "earlier_observations": earlier},
        }
        try:
            write_atomically(self.config_path, yaml_text(content).encode())
        except OSError as error:
            raise UserError(f"cannot write {self.config_path}: {reason(error)}") from error

    def config(self) -> dict[str, Any]:
        """Returns the resolved configuration as plain types. Raises UserError where it is missing or unreadable."""
        return self._section("config")

    def about(self) -> dict[str, Any]:
        """Returns the `about` given to `create`. Raises UserError where it is missing or unreadable."""
        return self._section("run")

    def append(self, row: Mapping[str, Any]) -> None:
        """Appends one row to metrics.jsonl: one write, NaN and infinity as null. Not synced: a kill loses nothing.

        Raises:
            FaultError: The row cannot be written in full; the file is left as it was before.
        """
        line = (json.dumps(plain(row), allow_nan=False, separators=(",", ":")) + "\n").encode()
        try:
            handle = os.open(self.metrics_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                size = os.fstat(handle).st_size
                try:
                    write_all(handle, line)
                except OSError:
                    os.ftruncate(handle, size)  # a full disk may have taken part of the line
                    raise
            finally:
                os.close(handle)
        except OSError as error:
            raise FaultError(f"cannot write {self.metrics_path}: {reason(error)}") from error

    def rows(self) -> list[dict[str, Any]]:
        """Returns all complete rows, oldest first; a torn last line is left out and a missing file is an empty run.

        Raises:
            UserError: The file cannot be read, a line other than the last is not a JSON object, or a value is not of
                its key's kind.
        """
        rows = []
        for number, row in enumerate(self._read(all_rows) or [], start=1):
            try:
                rows.append(checked_row(row))
            except ValueError as error:
                raise UserError(f"{self.metrics_path}: line {number}: {error}") from error
        return rows

    def last_row(self) -> dict[str, Any] | None:
        """Returns the newest complete row, or None. Reads the file's end only: `rows` checks the lines before it.

        Raises:
            UserError: The file cannot be read, or its last two lines are not JSON objects.
        """
        return (self._read(newest_row) or (None, 0))[0]

    def last_iteration(self) -> int:
        """Returns the iteration of the newest complete row; 0 before the first. Raises UserError as `last_row`."""
        row = self.last_row()
        return int(row["iteration"]) if row else 0

    def drop_torn_line(self) -> int:
        """Removes what a kill left after the last complete row. Returns the bytes removed. Call before resuming."""
        return self._truncate((self._read(newest_row) or (None, 0))[1])

    def _read(self, read: Callable[[Path], Read]) -> Read | None:
        """Returns what `read` finds in metrics.jsonl; None where there is no such file."""
        try:
            return read(self.metrics_path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"cannot read {self.metrics_path}: {reason(error)}") from error

    def _truncate(self, size: int) -> int:
        try:
            surplus = self.metrics_path.stat().st_size - size
            if surplus:
                os.truncate(self.metrics_path, size)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise UserError(f"cannot write {self.metrics_path}: {reason(error)}") from error
        return surplus

    def _section(self, name: str) -> dict[str, Any]:
        section = read_yaml(self.config_path).get(name)
        if not isinstance(section, dict):
            raise UserError(f"{self.config_path} has no section {name!r}")
        return section
