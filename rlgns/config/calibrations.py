"""The calibrations in configs/calibrations: from files to `Calibration`, and which of them serves a run."""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path
from typing import get_type_hints

from rlgns.config.convert import convert
from rlgns.config.files import read_yaml, shipped_folder
from rlgns.critical.calibration import Calibration
from rlgns.errors import UserError, nearest

_NOT_IN_FILES = ("name", "widening_sd", "exact")
_FIELDS = {name: kind for name, kind in get_type_hints(Calibration).items() if name not in _NOT_IN_FILES}

WIDENING_SD = 0.56
"""Standard deviation between tasks of one kind in the paper's Table 1 (docs/notes/calibration.md)."""
WIDENING_DF = 4


@functools.cache
def calibration_for(*, algorithm: str, epochs: int) -> Calibration:
    """Returns the shipped calibration of an algorithm with so many epochs, else the nearest, widened and not `exact`.

    Nearest is one of the same algorithm, then one of the nearest number of epochs (by ratio), then that of most games.
    """
    found = [read_calibration(path) for path in sorted(shipped_folder("calibrations").glob("*.yaml"))]
    if not found:
        raise UserError(f"no calibration in {shipped_folder('calibrations')}; install rlgns again")

    def distance(other: Calibration) -> tuple[bool, float, int]:
        return other.algorithm != algorithm, abs(math.log(other.epochs / epochs)), -other.games

    best = min(found, key=distance)
    if (best.algorithm, best.epochs) == (algorithm, epochs):
        return best
    total = best.proxy_sd**2 + WIDENING_SD**2
    freedom = total**2 / (best.proxy_sd**4 / best.degrees_of_freedom + WIDENING_SD**4 / WIDENING_DF)
    return dataclasses.replace(best, exact=False, widening_sd=WIDENING_SD, degrees_of_freedom=freedom)


def read_calibration(path: Path) -> Calibration:
    """Returns the calibration in a file. Raises UserError, with file and key, where it is not one."""
    data = read_yaml(path)
    data.pop("provenance", None)
    for name in data:
        if name not in _FIELDS:
            raise UserError(f"{path}: unknown key {name!r}{nearest(str(name), _FIELDS)}")
    for name in _FIELDS:
        if name not in data:
            raise UserError(f"{path}: no key {name!r}; `rlgns fit POINTS --calibration FILE` writes such a file")
    try:
        return Calibration(name=path.stem, **{n: convert(f"{path}: {n}", data[n], k) for n, k in _FIELDS.items()})
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
