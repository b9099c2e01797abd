"""`rlgns games`."""

from __future__ import annotations

import pytest

from rlgns.commands import cli


def test_games_lists_all_with_scores_and_goals(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["games"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 58
    pong = next(line for line in lines if line.startswith("pong ")).split()
    assert pong[1:4] == ["Pong", "-20.7", "14.6"]
    assert pong[5:] == ["-19", "0", "19"]
    assert any(line.startswith("surround ") for line in lines)
