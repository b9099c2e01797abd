"""The newest row, read from a file's end, against a slow twin that reads it whole."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from rlgns.errors import UserError
from rlgns.storage.row_lines import all_rows, newest_row
from rlgns.storage.run_folder import RunFolder


def twin(content: bytes) -> tuple[dict[str, Any] | None, int]:
    """Parses every line of the file; a complete line that is no row is allowed at the end alone."""
    found: tuple[dict[str, Any] | None, int] = (None, 0)
    end = 0
    lines = content.split(b"\n")[:-1]
    for number, line in enumerate(lines, start=1):
        end += len(line) + 1
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and "iteration" in row:
            found = row, end
        elif number < len(lines):
            raise UserError(f"line {number}")
    return found


def content_of(rng: random.Random) -> bytes:
    """Returns 0 to 5 rows of 20 to 400 bytes, then perhaps a complete line that is no row, then perhaps a torn one."""
    rows = [
        json.dumps({"iteration": number, "text": rng.choice("ax\r\u00e9") * rng.randrange(200)}).encode() + b"\n"
        for number in range(rng.randrange(6))
    ]
    ends = [b"", b"", b"\n", b"nonsense\n", b"[1]\n", b"{}\n", b"\0" * rng.randrange(300) + b"\n"]
    whole = json.dumps({"iteration": 9, "text": "torn" * rng.randrange(50)}).encode()
    return b"".join(rows) + rng.choice(ends) + rng.choice([b"", whole[: rng.randrange(len(whole))], whole])


@pytest.mark.parametrize("chunk", [1, 7, 64, 65536])
def test_the_newest_row_is_that_of_the_whole_file(tmp_path: Path, chunk: int) -> None:
    rng = random.Random(chunk)
    path = tmp_path / "metrics.jsonl"
    kinds = set()
    for _ in range(300):
        content = content_of(rng)
        path.write_bytes(content)
        expected = twin(content)
        assert newest_row(path, chunk=chunk) == expected
        assert (all_rows(path) or [None])[-1] == expected[0]
        kinds.add((expected[0] is None, expected[1] == len(content), b"\0" in content))
    assert len(kinds) > 4  # draws of every kind


def test_two_broken_lines_at_the_end_are_an_error_with_the_first_ones_number(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"iteration": 1}\nbroken\nbroken\n{"torn')
    with pytest.raises(UserError, match="line 2 is not a row of metrics"):
        newest_row(path, chunk=5)


def test_a_folder_reads_the_end_of_its_metrics_only(tmp_path: Path) -> None:
    """A hole of 64 GiB takes no space on the disk, but nobody could read it."""
    folder = RunFolder(tmp_path)
    with folder.metrics_path.open("wb") as file:
        file.truncate(2**36)
        file.seek(2**36)
        file.write(b'\n{"iteration": 7}\n{"iteration": 8}\n{"itera')
    assert folder.last_row() == {"iteration": 8}
    assert folder.last_iteration() == 8
    assert folder.drop_torn_line() == len(b'{"itera')
    assert folder.drop_torn_line() == 0
