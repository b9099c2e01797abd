"""Lines of metrics.jsonl: all rows, or the newest one from the file's end alone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rlgns.errors import UserError

CHUNK = 2**16
"""Bytes read at a time from the end of a file; a row has about two thousand."""


def parsed(line: bytes) -> dict[str, Any] | None:
    """Returns the row in a line, or None where the line holds none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and "iteration" in row else None


def all_rows(path: Path) -> list[dict[str, Any]]:
    """Returns all complete rows, oldest first; what a kill left behind the last of them is left out.

    Raises:
        UserError: A line other than the last is not a row.
        OSError: The file cannot be read.
    """
    rows: list[dict[str, Any]] = []
    broken = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            if broken:
                raise UserError(f"{path}: line {broken} is not a row of metrics")
            row = parsed(line)
            if row is None:
                broken = number
            else:
                rows.append(row)
    return rows


def newest_row(path: Path, *, chunk: int = CHUNK) -> tuple[dict[str, Any] | None, int]:
    """Returns the newest complete row and the byte offset behind its newline; None and 0 where there is none.

    Reads no more of the file than its last two complete lines, `chunk` bytes at a time.

    Raises:
        UserError: Neither of the last two complete lines is a row.
        OSError: The file cannot be read.
    """
    lines, end = _last_two_lines(path, chunk)
    for line in reversed(lines):
        row = parsed(line)
        if row is not None:
            return row, end
        end -= len(line) + 1
    if len(lines) > 1:
        all_rows(path)  # raises, with the number of the line
    return None, 0


def _last_two_lines(path: Path, chunk: int) -> tuple[list[bytes], int]:
    """Returns the last complete lines, two at most, without newlines, and the byte offset behind them."""
    with path.open("rb") as file:
        start = file.seek(0, os.SEEK_END)
        blocks: list[bytes] = []
        newlines = 0
        while start > 0 and newlines < 3:  # the third ends the line before
            size = min(chunk, start)
            start = file.seek(start - size)
            blocks.append(file.read(size))
            newlines += blocks[-1].count(b"\n")
    content = b"".join(reversed(blocks))
    *lines, torn = content.split(b"\n")
    end = start + len(content) - len(torn)
    return (lines if start == 0 else lines[1:])[-2:], end
