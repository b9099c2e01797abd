"""Reads tables of points: those that a sweep writes, that `rlgns fit` gets, and the paper's, which ship with rlgns."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from rlgns.config.files import exists
from rlgns.critical.points import Point, check_columns, parse_point
from rlgns.envs.games import find
from rlgns.errors import UserError
from rlgns.fit.missing_goals import reasons
from rlgns.storage.files import reason
from rlgns.storage.sweep_folder import POINTS_FILE, SweepFolder

Row = TypeVar("Row")


def read_points(path: Path) -> list[Point]:
    """Returns the points in a CSV file, or in the points.csv of a sweep's folder.

    Raises:
        UserError: The file is missing, unreadable, empty, lacks a column, has a bad cell (with its line), or is a
            sweep's and no run has reached a goal.
    """
    points, file = read_table(path, check_columns, parse_point), _file(path)
    if file.name == POINTS_FILE and not any(point.reached for point in points):
        raise UserError(f"{file}: no run reached a goal{_why(file)}")
    return points


def column_names(path: Path) -> list[str]:
    """Returns the names in the header of such a file; raises UserError as `read_points`."""
    return _header(_open(path), _file(path))


def read_table(
    path: Path, check: Callable[[Sequence[str]], None], parse: Callable[[Mapping[str, str | None]], Row]
) -> list[Row]:
    """Returns the rows of a CSV file, or of the points.csv of a sweep's folder.

    Args:
        path: Of the file or folder.
        check: Raises ValueError where the columns' names are not the ones needed.
        parse: Returns a row from its cells; raises ValueError where one is bad.

    Raises:
        UserError: The file is missing, unreadable or empty, or either function raised (with the line).
    """
    file, reader = _file(path), _open(path)
    try:
        rows = _parse(reader, file, check, parse)
    except csv.Error as error:
        raise UserError(f"{file} is not a CSV file: {error}") from error
    if not rows:
        why = _why(file) if file.name == POINTS_FILE else ""
        raise UserError(f"{file} has no rows below its header{f': no run reached a goal{why}' if why else ''}")
    return rows


def rom_name(game: str) -> str:
    """Returns the ROM name of an Atari game by any of its names; other names are returned unchanged."""
    try:
        return find(game).name
    except ValueError:
        return game


def _why(file: Path) -> str:
    """Why the runs beside a sweep's points reached nothing; empty without any."""
    why = reasons(SweepFolder(file.parent).runs())
    return f" ({'; '.join(why)})" if why else ""


def _file(path: Path) -> Path:
    return path / POINTS_FILE if exists(path) and path.is_dir() else path


def _open(path: Path) -> csv.DictReader[str]:
    file = _file(path)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        hint = "; a sweep's folder has one" if file is not path else ""
        raise UserError(f"cannot read {file}: {reason(error)}{hint}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not text in UTF-8") from error
    return csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)


def _header(reader: csv.DictReader[str], file: Path) -> list[str]:
    try:
        names = reader.fieldnames
    except csv.Error as error:
        raise UserError(f"{file} is not a CSV file: {error}") from error
    if not names:
        raise UserError(f"{file} is empty")
    return [name.strip() for name in names]


def _parse(
    reader: csv.DictReader[str],
    file: Path,
    check: Callable[[Sequence[str]], None],
    parse: Callable[[Mapping[str, str | None]], Row],
) -> list[Row]:
    names = _header(reader, file)
    reader.fieldnames = names
    try:
        check(names)
    except ValueError as error:
        raise UserError(f"{file}: {error}") from error
    rows = []
    for row in reader:
        if None in row:
            raise UserError(f"{file}, line {reader.line_num}: more cells than the {len(names)} columns")
        try:
            rows.append(parse(row))
        except ValueError as error:
            raise UserError(f"{file}, line {reader.line_num}: {error}") from error
    return rows
