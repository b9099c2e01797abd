"""Points of a sweep, one per run and goal: parsed from the rows of a table, and fitted for each goal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import stdtrit

from rlgns.critical.pareto import ParetoFit, fit_pareto
from rlgns.errors import nearest

REQUIRED_COLUMNS = ("game", "goal_score", "batch_observations", "optimizer_steps", "observations")

LARGEST = 1e30
"""Numbers beyond it, or below its inverse, are slips: their logarithms and squares would overflow."""

NOT_REACHED = ("", "nan", "inf", "infinity", "null", "none")
"""Contents of a cell where the goal was not reached or nothing was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """What one run needed to reach one goal; the fields are the table's columns. None where not known."""

    game: str
    goal_score: float
    batch_observations: float
    """Observations per optimizer step."""
    optimizer_steps: float
    """Optimizer steps to the goal; infinite where it was never reached."""
    observations: float
    """Observations played to the goal; infinite where it was never reached."""
    learning_rate: float | None = None
    seed: float | None = None
    seconds: float | None = None
    """Wall-clock time to the goal."""
    run: str | None = None
    noise_scale: float | None = None
    """Average noise scale of the run up to the goal, observations."""
    noise_scale_low: float | None = None
    noise_scale_high: float | None = None

    @property
    def reached(self) -> bool:
        """Whether the run reached the goal."""
        return math.isfinite(self.optimizer_steps)


COLUMNS = tuple(field.name for field in fields(Point))
"""All known columns, in the order in which a sweep writes them; others are ignored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GoalFit:
    """The trade-off of one game and goal, with the noise scale that its runs measured."""

    game: str
    goal_score: float
    points: tuple[Point, ...]
    """One per batch size and seed, each the best of its learning rates, by batch size."""
    fit: ParetoFit
    reuse: float
    """How often an observation is used for a step (PPO's epochs): median of steps x batch / observations."""
    noise_scale: float
    """Average over the runs, observations; NaN where none resolved it."""
    noise_scale_low: float
    """NaN where nothing is known."""
    noise_scale_high: float
    """Infinite where only the lower bound is known."""

    def __str__(self) -> str:
        return f"{self.game}, score {self.goal_score:g}: {self.fit}"

    @property
    def min_observations(self) -> float:
        """E_min in observations played: that of the fit, which counts every use, divided by `reuse`."""
        return self.fit.min_observations / self.reuse

    @property
    def batches_used(self) -> tuple[float, ...]:
        """Batch sizes of the runs that the fit rests on, ascending; those of all runs where there is no fit."""
        left_out = {*self.fit.failed, *self.fit.outliers} if self.fit.points_used else set()
        return tuple(p.batch_observations for place, p in enumerate(self.points) if place not in left_out)

    @property
    def noise_over_critical(self) -> float:
        """Noise scale / critical batch; NaN where one is not known."""
        return self.noise_scale / self.fit.critical_batch if self.fit.identified else math.nan


def check_columns(names: Sequence[str]) -> None:
    """Raises ValueError, with the nearest match, where a required column is missing."""
    for column in REQUIRED_COLUMNS:
        if column not in names:
            hint = nearest(column, names).replace("did you mean", "is it")
            raise ValueError(f"no column {column!r}{hint}; needed: {', '.join(REQUIRED_COLUMNS)}")


def parse_point(cells: Mapping[str, str | None]) -> Point:
    """Returns the point of one row of text cells, by column name.

    Raises:
        ValueError: A cell is not a number or not in its range; the message names column and value.
    """
    game = (cells["game"] or "").strip()
    if not game:
        raise ValueError("game is empty")
    goal = cell_number(cells, "goal_score")
    batch = cell_number(cells, "batch_observations")
    if goal is None or batch is None:
        raise ValueError(f"{'goal_score' if goal is None else 'batch_observations'} is empty")
    values = {name: cell_number(cells, name) for name in COLUMNS if name not in ("game", "goal_score", "run")}
    for name, value in values.items():
        zero_is_fine = name in ("seed", "seconds", "noise_scale_low")
        if value is not None and (value < 0 or (value == 0 and not zero_is_fine)):
            raise ValueError(f"{name} must be {'zero or ' if zero_is_fine else ''}positive, got {cells[name]!r}")
    steps, observations = values.pop("optimizer_steps"), values.pop("observations")
    del values["batch_observations"]
    reached = steps is not None and observations is not None
    return Point(
        game=game,
        goal_score=goal,
        batch_observations=batch,
        optimizer_steps=steps if reached and steps is not None else math.inf,
        observations=observations if reached and observations is not None else math.inf,
        run=(cells.get("run") or "").strip() or None,
        **values,
    )


def best_points(points: Iterable[Point]) -> list[Point]:
    """Returns, per game, goal, batch size and seed, the point of the learning rate that took the fewest steps.

    Order: games and goals as they first come, batch sizes ascending.
    """
    best: dict[tuple[str, float], dict[tuple[float, float], Point]] = {}
    for point in points:
        of_goal = best.setdefault((point.game, point.goal_score), {})
        key = (point.batch_observations, -1.0 if point.seed is None else point.seed)
        if key not in of_goal or point.optimizer_steps < of_goal[key].optimizer_steps:
            of_goal[key] = point
    return [of_goal[key] for of_goal in best.values() for key in sorted(of_goal)]


def fit_points(points: Iterable[Point], *, level: float = 0.95) -> list[GoalFit]:
    """Returns the fit of every game and goal, in the order in which they first come."""
    groups: dict[tuple[str, float], list[Point]] = {}
    for point in best_points(points):
        groups.setdefault((point.game, point.goal_score), []).append(point)
    return [_fit_goal(game, goal, tuple(best), level) for (game, goal), best in groups.items()]


def _fit_goal(game: str, goal: float, points: tuple[Point, ...], level: float) -> GoalFit:
    fit = fit_pareto([p.batch_observations for p in points], [p.optimizer_steps for p in points], level=level)
    uses = [p.optimizer_steps * p.batch_observations / p.observations for p in points if p.reached]
    reuse = float(np.median(uses)) if uses else 1.0
    whole = max(1, round(reuse))
    noise_scale, low, high = average_noise_scale(points, level)
    return GoalFit(
        game=game,
        goal_score=goal,
        points=points,
        fit=fit,
        reuse=float(whole) if abs(reuse / whole - 1) < 0.1 else reuse,  # Readings of figures are off by a few per cent.
        noise_scale=noise_scale,
        noise_scale_low=low,
        noise_scale_high=high,
    )


def average_noise_scale(points: Sequence[Point], level: float = 0.95) -> tuple[float, float, float]:
    """Returns the geometric mean of the runs' noise scales with an interval from their scatter (Student's t, in logs).

    Well-tuned runs of different batch sizes should agree (McCandlish et al. 2018, appendix C), so their differences
    count as error. With one or two runs, the interval spans the runs' own intervals. Runs with only a lower bound do
    not enter the mean; if fewer than half of the runs resolve it, only their median lower bound is returned.

    Returns:
        Mean, low, high in observations; NaN, NaN, infinity where nothing is known.
    """
    reached = [p for p in points if p.reached]
    resolved = [(p.noise_scale, p) for p in reached if p.noise_scale and p.noise_scale_high is not None]
    lows = [p.noise_scale_low for p in reached if p.noise_scale_low is not None]
    bounds = sum(p.noise_scale_low is not None or bool(p.noise_scale) for p in reached)
    if not resolved or 2 * len(resolved) < bounds:
        return math.nan, float(np.median(lows)) if lows else math.nan, math.inf
    logs = np.log([scale for scale, _ in resolved])
    mean = float(np.exp(logs.mean()))
    if len(resolved) > 2:
        half = float(stdtrit(len(logs) - 1, 0.5 + level / 2)) * float(logs.std(ddof=1)) / math.sqrt(len(logs))
        return mean, mean * math.exp(-half), mean * math.exp(half)
    ends = [(p.noise_scale_low or 0.0, p.noise_scale_high or math.inf) for _, p in resolved]
    return mean, min(low for low, _ in ends), max(high for _, high in ends)


def cell_number(cells: Mapping[str, str | None], name: str) -> float | None:
    """Returns a cell's number; None where it is empty, `nan` or `inf`. Raises ValueError for anything else."""
    text = (cells.get(name) or "").strip()
    if text.lower().lstrip("+") in NOT_REACHED:
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text!r}") from None
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {text!r}")
    if abs(value) > LARGEST or 0 < abs(value) < 1 / LARGEST:
        raise ValueError(f"{name} must lie between {1 / LARGEST:g} and {LARGEST:g} in size, or be 0, got {text!r}")
    return value
