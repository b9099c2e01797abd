"""Configuration files: those that come with rlgns, by name, and YAML and JSON read strictly."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    import yaml  # of the trainer alone

    from rlgns.config.strict_yaml import StrictLoader

    text = _read_text(path)
    try:
        data = yaml.load(text, Loader=StrictLoader)
    except Exception as failure:  # PyYAML raises many types for values that are not of their tag, `!!bool x`
        mark = getattr(failure, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(failure, "problem", None) or type(failure).__name__
        raise UserError(f"{path}: is not valid YAML: {place}{problem}") from failure
    return _mapping(path, {} if data is None else data)


def yaml_text(content: Mapping[str, Any]) -> str:
    """Returns plain types as YAML, in their own order."""
    import yaml

    text: str = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    return text


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file whose top level is an object.

    Raises:
        UserError: Unreadable, not JSON, a key given twice, or not an object; one line with the place.
    """
    text = _read_text(path)
    try:
        return _mapping(path, json.loads(text, object_pairs_hook=_without_repeats))
    except (RecursionError, ValueError) as failure:
        place = f"line {failure.lineno}, column {failure.colno}: " if isinstance(failure, json.JSONDecodeError) else ""
        problem = getattr(failure, "msg", None) or str(failure)
        raise UserError(f"{path}: is not valid JSON: {place}{problem}") from failure


def _without_repeats(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key} is given twice")
        found[key] = value
    return found


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as failure:
        raise UserError(f"{path}: cannot be read: {failure.strerror}") from failure
    except UnicodeDecodeError as failure:
        raise UserError(f"{path}: is not UTF-8 text") from failure


def _mapping(path: Path, data: Any) -> dict[str, Any]:
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
