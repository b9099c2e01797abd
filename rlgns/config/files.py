"""Configuration files: those that come with rlgns, by name, and YAML read strictly."""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rlgns.config.strict_yaml import StrictLoader
from rlgns.errors import UserError, nearest


def presets() -> dict[str, Path]:
    """Returns the shipped presets by name. Raises UserError where the installation lacks them."""
    return _shipped("presets")


def sweeps() -> dict[str, Path]:
    """Returns the shipped sweeps by name. Raises UserError where the installation lacks them."""
    return _shipped("sweeps")


def find_preset(name: str | Path) -> Path:
    """Returns the file of a shipped preset, or the file at a path. Raises UserError with the nearest match."""
    return _find(name, presets(), "preset")


def find_sweep(name: str | Path) -> Path:
    """Returns the file of a shipped sweep, or the file at a path. Raises UserError with the nearest match."""
    return _find(name, sweeps(), "sweep")


def shipped_folder(kind: str) -> Path:
    """Returns `configs/<kind>`: in a checkout, or where a wheel installs data files. Raises UserError without one."""
    beside = Path(__file__).resolve().parents[2] / "configs" / kind
    installed = Path(sysconfig.get_path("data")) / "share" / "rlgns" / "configs" / kind
    for folder in (beside, installed):
        if folder.is_dir():
            return folder
    raise UserError(f"no {kind} in {beside} or {installed}; install rlgns again")


def exists(path: Path) -> bool:
    """Returns whether there is a file or a folder. Raises UserError for a name that no file can have."""
    try:
        return path.exists()
    except OSError as failure:
        raise UserError(f"{path}: cannot be read: {failure.strerror}") from failure


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file whose top level is a mapping. An empty file is an empty mapping.

    Raises:
        UserError: Unreadable, not YAML, a key given twice, or not a mapping; one line with the place.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=StrictLoader)
    except OSError as failure:
        raise UserError(f"{path}: cannot be read: {failure.strerror}") from failure
    except UnicodeDecodeError as failure:
        raise UserError(f"{path}: is not UTF-8 text") from failure
    except Exception as failure:  # PyYAML raises many types for values that are not of their tag, `!!bool x`
        mark = getattr(failure, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(failure, "problem", None) or type(failure).__name__
        raise UserError(f"{path}: is not valid YAML: {place}{problem}") from failure
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{path}: must be sections of keys and values, got {type(data).__name__}")
    return data


def _shipped(kind: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted(shipped_folder(kind).glob("*.yaml"))}


def _find(name: str | Path, shipped: Mapping[str, Path], kind: str) -> Path:
    """Returns the shipped file of that name, or else the file at that path. `kind` is a word for the message."""
    if str(name) in shipped:
        return shipped[str(name)].resolve()
    path = Path(name)
    if exists(path):
        return path.resolve()
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"no configuration file {name}; {kind}s: {', '.join(shipped)}")
    raise UserError(f"unknown {kind} {str(name)!r}{nearest(str(name), shipped)}; {kind}s: {', '.join(shipped)}")
