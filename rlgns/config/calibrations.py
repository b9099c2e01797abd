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
from rlgns.critical.calibration import PATH_AVERAGE, SHIPPED, SMOOTHED, Calibration
from rlgns.critical.calibration_choice import RunCalibrations, nearest_calibration, one_of_each
from rlgns.errors import UserError, nearest

_NOT_IN_FILES = ("name", "widening_sd", "exact")
_FIELDS = {name: kind for name, kind in get_type_hints(Calibration).items() if name not in _NOT_IN_FILES}


@functools.cache
def calibration_for(*, algorithm: str, epochs: int, definition: str = PATH_AVERAGE) -> Calibration:
    """Returns the shipped calibration of an algorithm with so many epochs, else the nearest, widened and not `exact`.

    Args:
        algorithm: `agent.algorithm`.
        epochs: `agent.epochs`.
        definition: Of the noise scale that `predict` will get; by default the run average, as a run's rows have it.
    """
    return nearest_calibration(known_calibrations(), algorithm=algorithm, epochs=max(1, epochs), definition=definition)


def run_calibrations(*, algorithm: str, epochs: int) -> RunCalibrations:
    """Returns those of a run's average and of its noise scale now; arguments as in `calibration_for`."""
    return RunCalibrations(
        average=calibration_for(algorithm=algorithm, epochs=epochs),
        now=calibration_for(algorithm=algorithm, epochs=epochs, definition=SMOOTHED),
    )


def known_calibrations(*, but: Path | None = None) -> list[Calibration]:
    """Returns the calibrations in configs/calibrations, by name; the user's own instead of a shipped one for the same.

    Args:
        but: A file to leave out, which need not be readable.

    Raises:
        UserError: There is none, or two of the user's own are for the same.
    """
    folder = shipped_folder("calibrations")
    paths = [path for pattern in ("*.json", "*.yaml") for path in sorted(folder.glob(pattern))]
    found = [read_calibration(path) for path in paths if but is None or path.resolve() != but.resolve()]
    if not found and but is None:
        raise UserError(f"no calibration in {folder}; install rlgns again")
    try:
        return one_of_each(found)
    except ValueError as error:
        raise UserError(f"{folder}: {error}") from error


def prior_calibrations() -> list[Calibration]:
    """Returns the shipped calibrations, which alone serve as priors: so fits depend on no file that a user added."""
    return [read_calibration(shipped_folder("calibrations") / f"{name}.json") for name in SHIPPED]


def read_calibration(path: Path) -> Calibration:
    """Returns the calibration in a file. Raises UserError, with file and key, where it is not one."""
    data = read_yaml(path) if path.suffix in (".yaml", ".yml") else read_json(path)
    data.pop("provenance", None)
    data.setdefault("run_sd", 0.0)  # of older versions, which left the scatter between runs out
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
