"""docs/sweeps.md has the keys of the section `sweep` and the columns of points.csv, as the code has them."""

from __future__ import annotations

from pathlib import Path

from rlgns.config.describe import section_table
from rlgns.critical.points import COLUMNS
from rlgns.sweep.config import SweepConfig

PAGE = Path(__file__).resolve().parents[3] / "docs" / "sweeps.md"


def test_the_page_is_up_to_date() -> None:
    written = PAGE.read_text(encoding="utf-8")
    table = section_table("sweep", SweepConfig).split("\n\n", 2)[-1]
    assert table in written, f"replace the table of keys by\n{table}"
    assert ", ".join(COLUMNS) in " ".join(written.split())
