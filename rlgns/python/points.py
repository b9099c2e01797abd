"""`rlgns.fit_pareto`: the critical batch of a sweep, from arrays or from tables of points."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import overload

from numpy.typing import ArrayLike

from rlgns.config.files import shipped_folder
from rlgns.critical import pareto
from rlgns.critical.pareto import ParetoFit
from rlgns.critical.points import GoalFit, Point, fit_points
from rlgns.fit.points_file import read_points


@overload
def fit_pareto(
    points: str | os.PathLike[str] | Iterable[Point], optimizer_steps: None = None, *, level: float = 0.95
) -> list[GoalFit]: ...
@overload
def fit_pareto(points: ArrayLike, optimizer_steps: ArrayLike, *, level: float = 0.95) -> ParetoFit: ...


def fit_pareto(
    points: str | os.PathLike[str] | Iterable[Point] | ArrayLike,
    optimizer_steps: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> list[GoalFit] | ParetoFit:
    """Fits the trade-off S = S_min (1 + B_crit / B) between optimizer steps and batch size.

        rlgns.fit_pareto([64, 128, 256, 512], [9000, 5100, 3200, 2100])     # one fit
        rlgns.fit_pareto("points.csv")                                      # one fit per game and score goal
        rlgns.fit_pareto(rlgns.paper_points())

    McCandlish et al. 2018, arXiv:1812.06162, equations 2.11 and 2.12.

    Args:
        points: [runs], observations per optimizer step; or, alone, a CSV file of points, a sweep's folder or points,
            which are fitted as by `rlgns fit`: for each batch size and seed the best learning rate.
        optimizer_steps: [runs], optimizer steps to the goal; NaN or infinite where a run never reached it.
        level: Confidence of the intervals, between 0 and 1.

    Returns:
        The fit of the arrays, or the fits of every game and goal.

    Raises:
        UserError: The file cannot be read or has a bad cell, or no run of a sweep reached a goal; one line.
        ValueError: Arrays of different or no length, values out of range, points without steps.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if optimizer_steps is not None:
        return pareto.fit_pareto(points, optimizer_steps, level=level)  # type: ignore[arg-type]
    if isinstance(points, str | os.PathLike):
        return fit_points(read_points(Path(points)), level=level)
    table = list(points) if isinstance(points, Iterable) else []
    found = [point for point in table if isinstance(point, Point)]
    if not table or len(found) < len(table):
        raise ValueError("fit_pareto needs batches and optimizer steps, or one table of points; got one array")
    return fit_points(found, level=level)


def paper_points() -> list[Point]:
    """Returns the points of McCandlish et al. 2018, figures 11 and 12, which ship with rlgns (configs/paper)."""
    return read_points(shipped_folder("paper") / "pareto_points.csv")
