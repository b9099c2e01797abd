"""Finds the runs and sweeps below a folder, and says what is left out and why."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from rlgns.errors import UserError
from rlgns.storage.files import reason
from rlgns.storage.run_folder import RunFolder
from rlgns.storage.sweep_folder import SweepFolder

DEEPEST = 6
"""Folders below the one that was named, in which runs are looked for."""


@dataclass(kw_only=True, slots=True)
class Found:
    """What is below a folder."""

    runs: list[RunFolder] = field(default_factory=list)
    """With rows, by path."""
    sweeps: list[SweepFolder] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    """A line on each run or folder that is left out."""


def search(top: str | os.PathLike[str]) -> Found:
    """Returns the runs and sweeps in folders below one, at any depth up to DEEPEST.

    Raises:
        UserError: There is none, or the folder cannot be read.
    """
    found = Found()
    _visit(Path(top), 0, found)
    if not found.runs and not found.sweeps:
        why = f"; left out: {'; '.join(found.left_out)}" if found.left_out else ": no folder in it holds a config.yaml"
        raise UserError(f"no run found in {top}{why}")
    return found


def _visit(path: Path, depth: int, found: Found) -> None:
    """Adds what a folder is or holds. Raises UserError where the first folder cannot be read."""
    sweep, run = SweepFolder(path), RunFolder(path)
    if sweep.sweep_path.is_file() or sweep.points_path.is_file():
        found.sweeps.append(sweep)
    elif run.config_path.is_file():
        why = _unusable(run)
        if why:
            found.left_out.append(f"{path}: {why}")
        else:
            found.runs.append(run)
    elif depth == DEEPEST:
        found.left_out.append(f"{path}: more than {DEEPEST} folders down")
    else:
        for child in _folders_in(path, depth, found):
            _visit(child, depth + 1, found)


def _folders_in(path: Path, depth: int, found: Found) -> list[Path]:
    try:
        children = sorted(path.iterdir())
    except OSError as error:
        if depth == 0:
            raise UserError(f"cannot read {path}: {reason(error)}") from error
        found.left_out.append(f"{path}: cannot be read: {reason(error)}")
        return []
    return [child for child in children if child.is_dir() and not child.is_symlink() and child.name[0] != "."]


def _unusable(run: RunFolder) -> str:
    """Returns why a report has nothing to say about a run, or nothing."""
    try:
        return "" if run.about() and run.config() and run.rows() else "nothing was trained there yet"
    except UserError as error:
        return str(error)
