"""How noise scale and critical batch grow from the first goal to the last, task by task, and along the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from benchmarks.evidence_data import TaskResult
from rlgns.critical.factor import UNKNOWN, Factor, ratio
from rlgns.critical.points import GoalFit
from rlgns.critical.run_average import SIZE_ROWS
from rlgns.envs.games import human_normalised

Row = Mapping[str, Any]

BIN = 1.5
"""Width of a bin of losses or scores, as a factor."""


def noise_factor(first: GoalFit, last: GoalFit, level: float = 0.95) -> Factor:
    """Returns the growth of the path average over pairs of runs of one batch and seed that resolve both goals."""
    logs = [
        math.log(after / before)
        for cell, before in _resolved(first).items()
        for other, after in _resolved(last).items()
        if other == cell
    ]
    if len(logs) < 3:
        return UNKNOWN
    mean, spread = float(np.mean(logs)), float(np.std(logs, ddof=1)) / math.sqrt(len(logs))
    half = float(stdtrit(len(logs) - 1, 0.5 + level / 2)) * spread
    return Factor(value=math.exp(mean), low=math.exp(mean - half), high=math.exp(mean + half))


def _resolved(goal: GoalFit) -> dict[tuple[float, float | None], float]:
    return {
        (point.batch_observations, point.seed): point.noise_scale
        for point in goal.points
        if point.noise_scale and point.noise_scale_high is not None
    }


def critical_factor(first: GoalFit, last: GoalFit) -> Factor:
    """Returns the growth of the critical batch, with the interval that both fits' ends give (Donner and Zou 2012)."""
    a, b = first.fit, last.fit
    if not (a.identified and b.identified):
        return UNKNOWN
    return ratio(
        (b.critical_batch, b.critical_batch_low, b.critical_batch_high),
        (a.critical_batch, a.critical_batch_low, a.critical_batch_high),
    )


def noise_by_loss(task: TaskResult) -> list[tuple[float, float]]:
    """Returns (loss, noise scale) of bins of the smoothed loss, from high to low; none for a game."""
    return _binned(task, lambda row: row.get("smoothed"))[::-1]


def noise_by_score(task: TaskResult) -> list[tuple[float, float]]:
    """Returns (human-normalised score, noise scale) of bins of the score, from low to high; none for other tasks."""
    return _binned(task, lambda row: human_normalised(task.name, row["score"]) if row.get("score") else None)


def _binned(task: TaskResult, of: Callable[[Row], float | None]) -> list[tuple[float, float]]:
    """Noise scales of bins of a positive number of the rows; bins without a signal are left out.

    Each row's moments are divided by the mean of |G|^2 + trace / B over the run's rows before, SIZE_ROWS at most.
    """
    sums: dict[int, np.ndarray] = {}
    for name in dict.fromkeys(row["run"] for row in task.rows):
        sizes: list[float] = []
        before = 0.0
        for row in (row for row in task.rows if row["run"] == name):
            steps, before = row["step"] - before, row["step"]
            progress = of(row)
            if row["trace"] is None or row["grad_sq"] is None or progress is None or progress <= 0:
                continue
            size = float(np.mean(sizes[-SIZE_ROWS:])) if sizes else math.nan
            sizes.append(row["grad_sq"] + row["trace"] / row["batch_observations"])
            if size > 0:
                place = math.floor(math.log(progress) / math.log(BIN))
                added = steps / size * np.array([row["grad_sq"], row["trace"]])
                sums[place] = sums.get(place, np.zeros(2)) + added
    return [
        (BIN ** (place + 0.5), float(trace / grad_sq))
        for place, (grad_sq, trace) in sorted(sums.items())
        if grad_sq > 0
    ]


def ends(goals: Sequence[GoalFit]) -> tuple[GoalFit, GoalFit] | None:
    """Returns the first and last identified goals; None with fewer than two."""
    known = [goal for goal in goals if goal.fit.identified]
    return (known[0], known[-1]) if len(known) > 1 else None
