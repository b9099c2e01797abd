"""A sweep's folder and its layout."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

from rlgns.config.files import read_yaml, yaml_text
from rlgns.critical.points import COLUMNS
from rlgns.errors import FaultError, UserError
from rlgns.storage.files import lock, reason, write_atomically
from rlgns.storage.run_folder import RunFolder

POINTS_FILE = "points.csv"
"""One line for each goal that a run reached or missed, with the columns of `rlgns.critical.points`."""


@final
class SweepFolder:
    """One sweep on disk: sweep.yaml, runs/ with a run's folder per trial, points.csv, report.html."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.sweep_path = self.path / "sweep.yaml"
        self.runs_path = self.path / "runs"
        self.points_path = self.path / POINTS_FILE
        self.report_path = self.path / "report.html"

    def run(self, name: str) -> RunFolder:
        """Returns a trial's folder, whether it exists or not."""
        return RunFolder(self.runs_path / name)

    def runs(self) -> list[RunFolder]:
        """Returns the runs that exist, by name."""
        if not self.runs_path.is_dir():
            return []
        folders = [RunFolder(path) for path in sorted(self.runs_path.iterdir())]
        return [folder for folder in folders if folder.config_path.is_file()]

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Makes the folder, and locks it for this process while the block runs.

        Raises:
            UserError: It cannot be written, holds something other than a sweep, or another process is at work in it.
        """
        self.check()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        handle = lock(self.path)
        if handle is None:
            raise UserError(f"{self.path}: another rlgns sweep is at work in this folder")
        try:
            yield
        finally:
            os.close(handle)

    def check(self) -> None:
        """Raises UserError where the folder holds something other than a sweep."""
        try:
            if not self.path.exists() or self.sweep_path.exists():
                return
            others = [entry for entry in self.path.iterdir() if entry.name != ".lock"]
        except OSError as error:
            raise self._unusable(error) from error
        if others:
            raise UserError(f"{self.path} is not empty and holds no sweep; name another folder with --out")

    def write(self, content: Mapping[str, Any]) -> None:
        """Writes sweep.yaml from plain types. Raises UserError."""
        text = yaml_text(content)
        try:
            self.runs_path.mkdir(exist_ok=True)
            write_atomically(self.sweep_path, text.encode())
        except OSError as error:
            raise UserError(f"cannot write {error.filename or self.sweep_path}: {reason(error)}") from error

    def about(self) -> dict[str, Any]:
        """Returns the section `about` of sweep.yaml; empty before it is written."""
        about = read_yaml(self.sweep_path).get("about") if self.sweep_path.exists() else None
        return about if isinstance(about, dict) else {}

    def write_points(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes points.csv, whole or not at all; each row has a cell for every column. Raises FaultError."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        try:
            write_atomically(self.points_path, text.getvalue().encode())
        except OSError as error:
            raise FaultError(f"cannot write {self.points_path}: {reason(error)}") from error

    def note_fault(self, name: str, fault: str) -> None:
        """Writes what stopped a trial into fault.txt in its folder; an empty `fault` removes the file."""
        path = self.run(name).path / "fault.txt"
        with suppress(OSError):  # the fault may be the disk's
            if fault:
                path.write_text(fault + "\n")
            else:
                path.unlink(missing_ok=True)

    def _unusable(self, error: OSError) -> UserError:
        return UserError(f"{self.path}: cannot be written: {reason(error)}; name another folder with --out")
