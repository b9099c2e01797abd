"""Section "Contest" of docs/results/agreement.md: which number predicts the critical batch best."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.contest_scores import CONSTANT, MIN_GROUPS, PATH, Score, known, scores
from benchmarks.evidence_data import AS_SWEPT, CANDIDATES, GAME_CANDIDATES, TaskResult
from benchmarks.evidence_games import PLAYED, POLICY
from benchmarks.evidence_text import SHORT
from rlgns.critical.points import GoalFit

NAMES = {
    PATH: "path average",
    "preconditioned": "preconditioned",
    "hessian": "Hessian-weighted",
    PLAYED: "at the parameters that played",
    POLICY: "policy alone",
    AS_SWEPT: "path, as swept",
    CONSTANT: "constant",
}


def contest_section(tasks: Sequence[TaskResult]) -> list[str]:
    """Returns every candidate's predictions and scores: of the tasks, of all, and of the games."""
    contested, games = (
        [task for task in tasks if all(name in task.fits for name in names)] for names in (CANDIDATES, GAME_CANDIDATES)
    )
    lines = [
        "Which number, measured along the best runs, predicts the critical batch? The ratio of prediction to critical "
        "batch; in brackets how many runs have a two-sided interval, where not all do:",
        "",
    ]
    lines += _ratios(contested, (*CANDIDATES, AS_SWEPT))
    if games:
        lines += _ratios(games, GAME_CANDIDATES)
    errors, of_games = ([error for task in some for error in task.errors] for some in (contested, games))
    every = [error for task in tasks for error in task.errors]
    for title, some, names in (
        ("The path average against the constant, all tasks", every, (PATH,)),
        ("The same without digits", [e for e in every if e.group != "digits"], (PATH,)),
        ("All candidates, over the goals where every one has a value", errors, CANDIDATES),
        ("All candidates, without digits", [e for e in errors if e.group != "digits"], CANDIDATES),
        ("Games, over the goals where every candidate has a value", of_games, GAME_CANDIDATES),
    ):
        groups = {error.group for error in some if all(known(error, name) for name in names)}
        if len(groups) < MIN_GROUPS:
            lines += [f"{title}: not scored. A score needs {MIN_GROUPS} families; there are {len(groups)}.", ""]
        else:
            lines += [f"{title} ({len(groups)} families):", "", *_score_table(scores(some, names)), ""]
    return [*lines, SHORT]


def _ratios(tasks: Sequence[TaskResult], candidates: Sequence[str]) -> list[str]:
    """A table of what each candidate predicts at every identified goal."""
    lines = [
        f"| task | goal | {' | '.join(NAMES[name] for name in candidates)} |",
        f"| --- | ---: |{' ---: |' * len(candidates)}",
    ]
    for task in tasks:
        for place, goal in enumerate(task.goals):
            if goal.fit.identified:
                cells = [_ratio(task.fits[name][place]) for name in candidates]
                lines.append(f"| {task.name} | {abs(goal.goal_score):g} | {' | '.join(cells)} |")
    return [*lines, ""]


def _ratio(goal: GoalFit) -> str:
    """Predicted over critical batch, and how many runs resolve the prediction where not all do."""
    runs = [point for point in goal.points if point.reached]
    resolved = sum(bool(point.noise_scale) and point.noise_scale_high is not None for point in runs)
    ratio = goal.noise_over_critical
    text = f"{ratio:.2g}" if math.isfinite(ratio) else "not known"
    return text if resolved == len(runs) else f"{text} ({resolved} of {len(runs)})"


def _score_table(found: Sequence[Score]) -> list[str]:
    lines = [
        "| candidate | scaled | error, a factor of (95 %) | ln error minus the path average's (95 %) | "
        "ln error minus the constant's (95 %) | goals without a value |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]

    def difference(value: float, low: float, high: float) -> str:
        return f"{value:+.2f} ({low:+.2f} to {high:+.2f})" if math.isfinite(value) else ""

    for one in found:
        lines.append(
            f"| {NAMES[one.candidate]} | {'by the others' if one.calibrated else 'no'} | "
            f"{math.exp(one.value):.2g} ({math.exp(one.low):.2g} to {math.exp(one.high):.2g}) | "
            f"{'' if one.candidate == PATH else difference(one.less_path, one.less_path_low, one.less_path_high)} | "
            f"{difference(one.less_constant, one.less_constant_low, one.less_constant_high)} | {one.missing} |"
        )
    return lines
