"""Reads tables of points: those that a sweep writes, that `rlgns fit` gets, and the paper's, which ship with rlgns."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from rlgns.config.files import exists
from rlgns.critical.points import Point, check_columns, parse_point
from rlgns.envs.games import find
from rlgns.errors import UserError
from rlgns.storage.files import reason
from rlgns.storage.sweep_folder import POINTS_FILE


def read_points(path: Path) -> list[Point]:
    """Returns the points in a CSV file, or in the points.csv of a sweep's folder.

    Raises:
        UserError: The file is missing, unreadable, empty, lacks a column, or has a bad cell (with its line).
    """
    file = path / POINTS_FILE if exists(path) and path.is_dir() else path
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        hint = "; a sweep's folder has one" if file is not path else ""
        raise UserError(f"cannot read {file}: {reason(error)}{hint}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not text in UTF-8") from error
    try:
        return _parse(text, file)
    except csv.Error as error:
        raise UserError(f"{file} is not a CSV file: {error}") from error


def rom_name(game: str) -> str:
    """Returns the ROM name of an Atari game by any of its names; other names are returned unchanged."""
    try:
        return find(game).name
    except ValueError:
        return game


def _parse(text: str, file: Path) -> list[Point]:
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    if not reader.fieldnames:
        raise UserError(f"{file} is empty")
    reader.fieldnames = [name.strip() for name in reader.fieldnames]
    try:
        check_columns(reader.fieldnames)
    except ValueError as error:
        raise UserError(f"{file}: {error}") from error
    points = []
    for row in reader:
        if None in row:
            raise UserError(f"{file}, line {reader.line_num}: more cells than the {len(reader.fieldnames)} columns")
        try:
            points.append(parse_point(row))
        except ValueError as error:
            raise UserError(f"{file}, line {reader.line_num}: {error}") from error
    if not points:
        raise UserError(f"{file} has no rows below its header")
    return points
