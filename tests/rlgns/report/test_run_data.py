"""From rows to series, the ladder's fit and the split of time."""

from __future__ import annotations

import math

import pytest

from rlgns.report.run_data import column, newest_ladder, thinned, time_split
from tests.rows import make_null_row, make_row


def ladder(grad_sq: float, trace: float, sizes: tuple[int, ...] = (32, 64, 128, 256)) -> list[dict[str, float]]:
    return [{"batch_observations": size, "grad_sq_norm": grad_sq + trace / size} for size in sizes]


def test_the_fit_finds_an_exact_law_in_the_newest_rows() -> None:
    rows = [make_row(i) | {"noise/ladder": ladder(9.0, 9.0)} for i in range(1, 81)]
    rows += [make_row(i) | {"noise/ladder": ladder(1e-3, 0.41)} for i in range(81, 101)]
    found = newest_ladder(rows)
    assert found is not None
    assert (found.fit.grad_sq, found.fit.trace) == (pytest.approx(1e-3), pytest.approx(0.41))
    assert found.fit.noise_scale == pytest.approx(410)
    assert found.fit.misfit < 1e-9
    assert found.rows == 20


def test_a_bent_ladder_has_a_large_misfit() -> None:
    bent = ladder(1.0, 100.0)
    bent[1]["grad_sq_norm"] *= 1.5
    found = newest_ladder([make_row(1) | {"noise/ladder": bent}])
    assert found is not None
    assert found.fit.misfit > 0.1


def test_pure_noise_has_no_noise_scale() -> None:
    found = newest_ladder([make_row(1) | {"noise/ladder": ladder(-1e-3, 1.0)}])
    assert found is not None
    assert found.fit.grad_sq == pytest.approx(-1e-3)
    assert math.isnan(found.fit.noise_scale)


@pytest.mark.parametrize("rungs", [[], ladder(1.0, 1.0, (32,)), ladder(-9.0, 1.0)])
def test_no_fit_without_two_positive_rungs(rungs: list[dict[str, float]]) -> None:
    assert newest_ladder([make_row(1) | {"noise/ladder": rungs}]) is None
    assert newest_ladder([]) is None


def test_time_split_takes_measuring_out_of_learning() -> None:
    split = time_split([make_row(i) for i in range(1, 11)])
    assert split["sample"] == pytest.approx(13)
    assert split["measure"] == pytest.approx(0.012 * 32)
    assert split["learn"] + split["measure"] == pytest.approx(18)
    assert split["other"] == pytest.approx(1)
    assert time_split([]) == {}
    assert time_split([make_null_row()])["measure"] == 0


def test_thinned_keeps_the_ends() -> None:
    rows = [make_row(i) for i in range(1, 101)]
    few = thinned(rows, 7)
    assert len(few) == 7
    assert (few[0]["iteration"], few[-1]["iteration"]) == (1, 100)
    assert thinned(rows, 100) is rows


def test_column_has_gaps_where_nothing_is_known() -> None:
    assert column([make_null_row(), make_row(150), {}], "noise/scale")[::2] == [None, None]
