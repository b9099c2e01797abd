"""`rlgns.fit_pareto`: arrays, files, tables of points, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlgns
from rlgns.critical import pareto
from rlgns.critical.points import COLUMNS, Point

ROOT = Path(__file__).resolve().parents[3]
BATCH, STEPS = [64, 128, 256, 512], [9000, 5100, 3200, 2100]


def test_arrays_give_one_fit_that_prints_as_a_sentence() -> None:
    fit = rlgns.fit_pareto(np.array(BATCH), STEPS, level=0.9)
    assert fit == pareto.fit_pareto(BATCH, STEPS, level=0.9)
    assert str(fit).startswith("critical batch 450 (")
    assert str(fit).endswith(") observations (90 %)")


def test_a_fit_that_is_not_identified_says_why() -> None:
    assert str(rlgns.fit_pareto([64, 128], [9, 5])) == (
        "critical batch not identified: 2 batch sizes reached the goal, at least 3 are needed"
    )
    below = str(rlgns.fit_pareto([1, 2, 4, 8], [8000, 4010, 2005, 1000]))
    assert below.startswith("critical batch at least ")
    assert "; not identified: the largest batch" in below


def test_a_file_and_points_give_a_fit_for_every_goal() -> None:
    points = rlgns.paper_points()
    fits = rlgns.fit_pareto(point for point in points if point.game == "Pong")
    everything = rlgns.fit_pareto(ROOT / "configs" / "paper" / "pareto_points.csv")
    assert [fit for fit in everything if fit.game == "Pong"] == fits
    assert str(fits[0]).startswith(f"Pong, score {fits[0].goal_score:g}: critical batch ")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((BATCH,), ValueError, "fit_pareto needs batches and optimizer steps, or one table of points; got one array"),
        (([],), ValueError, "got one array"),
        ((BATCH, STEPS[:3]), ValueError, "need batch_observations and optimizer_steps of one length"),
        (([0, *BATCH], [1, *STEPS]), ValueError, "batch_observations must be positive, got 0.0"),
        (("none.csv",), rlgns.UserError, "cannot read none.csv"),
    ],
)
def test_mistakes_are_named_in_one_line(arguments: tuple[Any, ...], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        rlgns.fit_pareto(*arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_level_is_checked_and_points_have_columns() -> None:
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 95"):
        rlgns.fit_pareto(BATCH, STEPS, level=95)
    assert all(isinstance(point, Point) for point in rlgns.paper_points())
    assert "batch_observations" in COLUMNS
