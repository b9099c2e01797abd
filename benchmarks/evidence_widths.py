"""Stronger models: critical batch and noise scale by width, at equal loss and at equal steps.

docs/notes/contest.md, "Widths", has the rules.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.evidence_data import TaskResult
from rlgns.critical.factor import UNKNOWN, Factor

EQUAL_STEPS = (30, 100, 300)
AROUND = 1.5
"""Rows count from the step divided by it to the step times it."""
BATCH, TEXT_BATCH = 64, 1024


def trend(tasks: Sequence[TaskResult]) -> tuple[float, Factor]:
    """Returns the hardest goal that all widths identify and the slope of ln critical batch on ln width there.

    The interval is that of a sum of independent numbers with the ends of each fit's interval (Donner and Zou 2012).
    Goal and slope are NaN where no goal is identified at every width, or there is one width alone.
    """
    fits = [{goal.goal_score: goal.fit for goal in task.goals if goal.fit.identified} for task in tasks]
    shared = set.intersection(*map(set, fits)) if fits else set()
    if len(tasks) < 2 or not shared:
        return math.nan, UNKNOWN
    goal = max(shared)
    x = np.log([task.source["width"] for task in tasks])
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    value = below = above = 0.0
    for weight, fit in zip(weights.tolist(), (some[goal] for some in fits), strict=True):
        value += weight * math.log(fit.critical_batch)
        less = weight * math.log(fit.critical_batch / fit.critical_batch_low)
        more = weight * math.log(fit.critical_batch_high / fit.critical_batch)
        below += (less if weight > 0 else more) ** 2
        above += (more if weight > 0 else less) ** 2
    return goal, Factor(value=value, low=value - math.sqrt(below), high=value + math.sqrt(above))


def noise_at_step(task: TaskResult, step: int) -> float:
    """Returns the noise scale about a step, geometric mean over the seeds; NaN where a run had ended or shows none."""
    batch = TEXT_BATCH if task.name.startswith(("words-", "characters-")) else BATCH
    rows = [row for row in task.rows if row["batch_observations"] == batch and row["trace"] is not None]
    logs = []
    for run in dict.fromkeys(row["run"] for row in rows):
        own = [row for row in rows if row["run"] == run]
        if own[-1]["step"] < step:
            return math.nan
        near = [row for row in own if step / AROUND <= row["step"] <= step * AROUND]
        grad_sq, trace = (sum(row[key] for row in near) for key in ("grad_sq", "trace"))
        if not near or grad_sq <= 0:
            return math.nan
        logs.append(math.log(trace / grad_sq))
    return math.exp(float(np.mean(logs))) if logs else math.nan
