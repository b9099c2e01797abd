"""Scores of the contest: which number predicts the critical batch best. docs/notes/contest.md has the rules.

For every goal e = ln(predicted) - ln(critical batch). A task's squared error is the mean of e^2 over its goals, the
score the root of the mean over tasks. With one factor each group of tasks is predicted with that of the others; tasks
that differ only in width or optimizer are one group. Intervals come from drawing groups with replacement.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 10_000
LEVEL = 0.95
MIN_GROUPS = 3
"""Fewest groups of tasks that are scored: of two, one sets the factor and one is judged."""
PATH, CONSTANT = "path", "constant"


@dataclass(frozen=True, kw_only=True, slots=True)
class GoalErrors:
    """One identified goal of one task."""

    task: str
    group: str
    """Tasks that differ only in width or optimizer have one."""
    goal: float
    critical: float
    """Critical batch, observations."""
    predicted: Mapping[str, float]
    """By candidate, observations; NaN or absent where it has no value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Root-mean-square error of ln B_crit of one candidate. exp of it is the typical factor."""

    candidate: str
    calibrated: bool
    value: float
    low: float
    high: float
    less_path: float
    """This score less that of the path average; negative is better."""
    less_path_low: float
    less_path_high: float
    less_constant: float
    """This score less that of the constant, which is always that of the other groups."""
    less_constant_low: float
    less_constant_high: float
    missing: int
    """Identified goals at which the candidate has no value."""


def scores(goals: Sequence[GoalErrors], candidates: Sequence[str], *, seed: int = 0) -> list[Score]:
    """Returns the scores of candidates over the goals that all of them have, without and with one factor.

    The constant, the geometric mean of the other groups' critical batches, comes last, with one factor only.

    Args:
        goals: identified goals of all tasks.
        candidates: names; the path average must be one.
        seed: of the bootstrap.

    Raises:
        ValueError: Fewer than MIN_GROUPS groups have a goal that all candidates predict.
    """
    shared = shared_goals(goals, candidates)
    tables = {name: _Table(shared, name) for name in (*candidates, CONSTANT)}
    groups = tables[PATH].groups
    if groups < MIN_GROUPS:
        raise ValueError(f"{groups} groups of tasks have a goal that all candidates predict; {MIN_GROUPS} are needed")
    drawn = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=DRAWS).astype(float)
    counts = np.concatenate([np.ones((1, groups)), drawn])  # the first is the sample itself
    found, constant = [], tables[CONSTANT].score(counts, True)
    for calibrated in (False, True):
        every = {name: table.score(counts, calibrated) for name, table in tables.items()}
        for name in (*candidates, *((CONSTANT,) if calibrated else ())):
            low, high = _ends(every[name])
            path_low, path_high = _ends(every[name] - every[PATH])
            constant_low, constant_high = _ends(every[name] - constant)
            found.append(
                Score(
                    candidate=name,
                    calibrated=calibrated,
                    value=float(every[name][0]),
                    low=low,
                    high=high,
                    less_path=float(every[name][0] - every[PATH][0]),
                    less_path_low=path_low,
                    less_path_high=path_high,
                    less_constant=float(every[name][0] - constant[0]),
                    less_constant_low=constant_low,
                    less_constant_high=constant_high,
                    missing=0 if name == CONSTANT else sum(not known(goal, name) for goal in goals),
                )
            )
    return found


def shared_goals(goals: Sequence[GoalErrors], candidates: Sequence[str]) -> list[GoalErrors]:
    """Returns the goals at which every candidate has a value."""
    return [goal for goal in goals if all(known(goal, name) for name in candidates)]


def known(goal: GoalErrors, candidate: str) -> bool:
    """Returns whether a candidate predicts a goal."""
    value = goal.predicted.get(candidate, math.nan)
    return math.isfinite(value) and value > 0


def factors(goals: Sequence[GoalErrors], candidate: str) -> dict[str, float]:
    """Returns, for each group, the factor that the other groups give the candidate; NaN where there are none."""
    table = _Table([goal for goal in goals if known(goal, candidate)], candidate)
    logs = table.shifts(np.ones((1, table.groups)))[0]
    return {name: math.exp(log) for name, log in zip(table.names, logs, strict=True)}


class _Table:
    """Errors of one candidate, by group: what a score needs of them."""

    def __init__(self, goals: Sequence[GoalErrors], candidate: str) -> None:
        errors: dict[str, dict[str, list[float]]] = {}
        for goal in goals:
            predicted = 1.0 if candidate == CONSTANT else goal.predicted[candidate]
            errors.setdefault(goal.group, {}).setdefault(goal.task, []).append(math.log(predicted / goal.critical))
        self.names, self.groups = list(errors), len(errors)
        self._tasks = np.array([len(tasks) for tasks in errors.values()], dtype=np.float64)
        # sums over a group's tasks of the means over their goals of e and e^2
        self._first = np.array([sum(np.mean(e) for e in tasks.values()) for tasks in errors.values()])
        self._second = np.array([sum(np.mean(np.square(e)) for e in tasks.values()) for tasks in errors.values()])

    def shifts(self, counts: Array) -> Array:
        """Returns [draws, groups] what calibration adds to a group's ln(predicted); NaN without other groups."""
        others = (counts @ self._tasks)[:, None] - counts * self._tasks
        sums = (counts @ self._first)[:, None] - counts * self._first
        return -sums / np.where(others > 0, others, np.nan)

    def score(self, counts: Array, calibrated: bool) -> Array:
        """Returns [draws] scores, for how often each group was drawn, [draws, groups]; NaN where one group is all."""
        shift = self.shifts(counts) if calibrated else np.zeros_like(counts)
        squares = self._second + 2 * shift * self._first + shift**2 * self._tasks
        squares = np.where(counts > 0, squares * counts, 0.0)
        mean_square = np.sum(squares, axis=1) / (counts @ self._tasks)
        result: Array = np.sqrt(np.maximum(mean_square, 0.0))  # below 0 by rounding alone
        return result


def _ends(draws: Array) -> tuple[float, float]:
    """Percentile interval over the bootstrap's draws, which are all but the first."""
    some = draws[1:][np.isfinite(draws[1:])]
    if not len(some):
        return math.nan, math.nan
    low, high = np.quantile(some, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)
