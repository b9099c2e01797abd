"""Tables of plain text."""

from __future__ import annotations

from rlgns.columns import aligned


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("game", "goal"), ("pong", "-19"), ("a", "10,000")]
    assert aligned(rows) == ["game    goal", "pong     -19", "   a  10,000"]
    assert aligned(rows, left=1) == ["game    goal", "pong     -19", "a     10,000"]
