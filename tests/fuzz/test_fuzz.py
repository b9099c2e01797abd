"""A short fuzz run: the first cases of `make fuzz`, and those that failed once."""

from __future__ import annotations

import pytest

from tests.fuzz.cases import KINDS
from tests.fuzz.run import run_case

CASES = 25
"""Of each kind."""


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_input_is_read_or_refused_in_one_line(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    outcomes = [run_case(kind, seed) for seed in range(CASES)]
    assert not [str(outcome) for outcome in outcomes if outcome.fault]
    assert {outcome.code for outcome in outcomes} == {0, 2}  # some are still valid, some are not
