"""The page of configuration keys is the one that the dataclasses make."""

from __future__ import annotations

from pathlib import Path

from rlgns.config import describe
from rlgns.config.load import all_keys

PAGE = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    written = PAGE.read_text(encoding="utf-8")
    assert written == describe.page(), "run: python -m rlgns.config.describe > docs/configuration.md"


def test_every_key_has_a_meaning() -> None:
    for key in all_keys():
        row = next(line for line in describe.page().splitlines() if line.startswith(f"| `{key}` |"))
        assert len(row.rstrip(" |").rsplit("|", 1)[1].split()) >= 2
