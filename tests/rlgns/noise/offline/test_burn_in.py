"""Which rounds count: known starts that differ, and rounds that all agree."""

from __future__ import annotations

import numpy as np
import pytest

from rlgns.noise.offline.burn_in import BurnIn, burn_in

SETS, ERROR = 8, 0.1


def rounds(offsets: list[float], seed: int, column: int = 0) -> BurnIn:
    """Rounds whose moments are 1 apart from an offset in one of them; sets scatter."""
    rng = np.random.default_rng(seed)
    by_set = 1 + ERROR * np.sqrt(SETS) * rng.standard_normal((SETS, len(offsets), 2))
    by_set[..., column] += np.array(offsets)
    without = (by_set.sum(0) - by_set) / (SETS - 1)
    return burn_in(by_set.mean(0), without)


@pytest.mark.parametrize("column", [0, 1])
@pytest.mark.parametrize(
    ("offsets", "first", "agrees"),
    [
        ([5.0], 0, False),
        ([5.0, 0.0], 1, False),  # nothing to compare round 1 with
        ([5.0, 0.0, 0.0], 1, True),
        ([5.0, 3.0, 0.0, 0.0], 2, False),
        ([5.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0], 2, True),
        ([5.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 4, True),
        ([5.0] + [3.0] * 7 + [0.0] * 8, 8, False),
    ],
)
def test_leaves_out_what_differs(offsets: list[float], first: int, agrees: bool, column: int) -> None:
    found = rounds(offsets, seed=0, column=column)
    assert (found.first, found.agrees) == (first, agrees)


def test_errors_are_those_of_single_rounds() -> None:
    errors = np.mean([rounds([0.0] * 6, seed).errors for seed in range(50)], axis=0)
    np.testing.assert_allclose(errors, ERROR, rtol=0.2)


def test_rounds_that_agree_are_seldom_left_out() -> None:
    """Two moments at 95 % each: one start in ten is left out by chance."""
    dropped = [rounds([0.0] * 8, seed).first > 1 for seed in range(400)]
    assert 0.06 < np.mean(dropped) < 0.14
