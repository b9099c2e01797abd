"""The calibrations in configs/calibrations: from files to `Calibration` and back, and which of them serves a run."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from rlgns.config.convert import convert
from rlgns.config.files import read_json, read_yaml, shipped_folder
from rlgns.critical.calibration import Calibration, nearest_calibration
from rlgns.errors import UserError, nearest

_NOT_IN_FILES = ("name", "widening_sd", "exact")
_FIELDS = {name: kind for name, kind in get_type_hints(Calibration).items() if name not in _NOT_IN_FILES}


@functools.cache
def calibration_for(*, algorithm: str, epochs: int, definition: str | None = None) -> Calibration:
    """Returns the shipped calibration of an algorithm with so many epochs, else the nearest, widened and not `exact`.

    Args:
        algorithm: `agent.algorithm`.
        epochs: `agent.epochs`.
        definition: Of the noise scale that `predict` will get (`AT_GOAL`, `PATH_AVERAGE`); None: the calibration's.
    """
    return nearest_calibration(
        shipped_calibrations(), algorithm=algorithm, epochs=max(1, epochs), definition=definition
    )


def shipped_calibrations() -> list[Calibration]:
    """Returns the calibrations in configs/calibrations, by name. Raises UserError where there is none."""
    folder = shipped_folder("calibrations")
    found = [read_calibration(path) for path in sorted(folder.glob("*.json")) + sorted(folder.glob("*.yaml"))]
    if not found:
        raise UserError(f"no calibration in {folder}; install rlgns again")
    return found


def read_calibration(path: Path) -> Calibration:
    """Returns the calibration in a file. Raises UserError, with file and key, where it is not one."""
    data = read_yaml(path) if path.suffix in (".yaml", ".yml") else read_json(path)
    data.pop("provenance", None)
    for name in data:
        if name not in _FIELDS:
            raise UserError(f"{path}: unknown key {name!r}{nearest(str(name), _FIELDS)}")
    for name in _FIELDS:
        if name not in data:
            raise UserError(f"{path}: no key {name!r}; `rlgns fit POINTS --calibration FILE` writes such a file")
    values = {name: convert(f"{path}: {name}", data[name], kind) for name, kind in _FIELDS.items()}
    try:
        return Calibration(name=path.stem, **values)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error


def calibration_text(calibration: Calibration, provenance: Mapping[str, Any]) -> str:
    """Returns the file of a calibration, numbers with four decimals, and where they come from, as JSON."""
    values = {name: value for name, value in dataclasses.asdict(calibration).items() if name in _FIELDS}
    values = {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}
    return json.dumps({**values, "provenance": dict(provenance)}, indent=2, ensure_ascii=False) + "\n"
