"""Section "Noise scale by batch" of docs/results/agreement.md: does the path average depend on the batch of its run?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from benchmarks.evidence_data import TaskResult
from rlgns import formatting
from rlgns.critical.factor import UNKNOWN, Factor
from rlgns.critical.points import GoalFit

TEXT = (
    "Post hoc. The path average of single best runs, and the exponent p of a fit batch^p over the runs with two-sided "
    "intervals, with Student's t. Where p is above zero, a run at a small batch underestimates what one near the "
    "critical batch measures."
)


def exponent(goal: GoalFit) -> Factor:
    """Returns the slope of ln path average on ln batch over the runs that resolve it, with its 95 % interval."""
    some = [
        (p.batch_observations, p.noise_scale) for p in goal.points if p.noise_scale and p.noise_scale_high is not None
    ]
    if len({batch for batch, _ in some}) < 3:
        return UNKNOWN
    x, y = np.log(np.array(some)).T
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    error = math.sqrt(float(rest @ rest) / (len(x) - 2) / float(x @ x))
    half = float(stdtrit(len(x) - 2, 0.975)) * error
    return Factor(value=slope, low=slope - half, high=slope + half)


def batch_section(tasks: Sequence[TaskResult]) -> list[str]:
    """Returns a line per task: its hardest goal at the smallest batch, at the largest, and the exponent."""
    lines = [
        TEXT,
        "",
        "| task | goal | smallest batch: noise scale | largest batch: noise scale | exponent p (95 %) |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for task in tasks:
        goal = task.goals[-1]
        found = exponent(goal)
        by: dict[float, list[float]] = {}
        for point in goal.points:
            if point.noise_scale and point.noise_scale_high is not None:
                by.setdefault(point.batch_observations, []).append(math.log(point.noise_scale))
        if math.isfinite(found.value):
            cells = [
                f"{batch:,.0f}: {formatting.rounded(math.exp(float(np.mean(by[batch]))))}"
                for batch in (min(by), max(by))
            ]
            lines.append(
                f"| {task.name} | {abs(goal.goal_score):g} | {' | '.join(cells)} | "
                f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f}) |"
            )
    return lines
