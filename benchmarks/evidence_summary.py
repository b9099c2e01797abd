"""Section "What was found" of docs/results/agreement.md: the answers in sentences, from the numbers of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contest_scores import CONSTANT, MIN_GROUPS, PATH, Score, known, scores
from benchmarks.evidence_answers import (
    adaptive_answer,
    batch_answer,
    candidates_answer,
    difficulty_answer,
    growth_answer,
    width_answer,
)
from benchmarks.evidence_atari_widths import atari_width_answer
from benchmarks.evidence_data import TaskResult
from benchmarks.evidence_figures import our_tasks, paper_points
from examples.tasks.settings import TASKS
from rlgns import formatting
from rlgns.critical.agreement import MIN_TASKS, agreement
from rlgns.report.agreement_figure import Task

WIN = math.log(2)
"""Largest score, with one factor, that the plan counts as a prediction."""


def found_section(tasks: Sequence[TaskResult], with_widths: Sequence[TaskResult], folder: Path) -> list[str]:
    """Returns the list of findings.

    Args:
        tasks: of the plan.
        with_widths: these and their other widths.
        folder: with the pairs of adaptive and fixed runs.
    """
    return [
        *_prediction(tasks),
        *_ratios(tasks),
        *candidates_answer(tasks),
        *growth_answer(tasks),
        *batch_answer(tasks),
        *width_answer(with_widths),
        *atari_width_answer(folder),
        *difficulty_answer(tasks),
        *adaptive_answer(folder),
        *_r_squared_lines(tasks),
    ]


def _prediction(tasks: Sequence[TaskResult]) -> list[str]:
    errors = [error for task in tasks for error in task.errors if known(error, PATH)]
    groups = len({error.group for error in errors})
    sizes = [error.critical for task in tasks for error in task.errors]
    if groups < MIN_GROUPS:
        return [
            f"- **Nothing is decided yet**: {formatting.plural(groups, 'family', 'families')} of tasks; {MIN_GROUPS} "
            "are needed."
        ]
    found = {(score.candidate, score.calibrated): score for score in scores(errors, (PATH,))}
    bare, path, constant = found[PATH, False], found[PATH, True], found[CONSTANT, True]
    worst = max(max(e.predicted[PATH] / e.critical, e.critical / e.predicted[PATH]) for e in errors)
    return [
        f"- **Critical batches** from {formatting.rounded(min(sizes))} to {formatting.rounded(max(sizes))} were "
        f"measured, {math.log10(max(sizes) / min(sizes)):.1f} decades, at {len(sizes)} goals of {len(tasks)} tasks.",
        f"- **Unscaled**, the noise scale's error is a factor of {_factor(bare)}, {formatting.rounded(worst)} at "
        "worst.",
        f"- **With one scale factor** fitted to the other families, the error is a factor of {_factor(path)}. A "
        f"constant, the geometric mean of the other tasks' critical batches, has an error of {_factor(constant)}. "
        f"{_verdict(path)}",
    ]


def _factor(score: Score) -> str:
    return f"{math.exp(score.value):.2g} ({math.exp(score.low):.2g} to {math.exp(score.high):.2g})"


def _verdict(path: Score) -> str:
    """By the plan's rule: a score of at most ln 2, and an interval of the difference from the constant below zero."""
    near, better = path.value <= WIN, path.less_constant_high < 0
    less, low, high = (-x for x in (path.less_constant, path.less_constant_high, path.less_constant_low))
    ratio = f"{math.exp(less):.2g} times (95 %: {math.exp(low):.2g} to {math.exp(high):.2g})"
    smaller = f"The constant's error is {ratio} the scaled noise scale's"
    if near and better:
        return f"{smaller}. By the plan's rule **the noise scale predicts the critical batch**."
    if better:
        end = " (the interval includes 2)" if path.low <= WIN else ""
        return (
            f"{smaller}; see few families below. The plan also required an error of at most 2, which "
            f"{math.exp(path.value):.2g}{end} fails. So by the plan's rule the result is **inconclusive**."
        )
    return f"{smaller}, an interval that includes 1. By the plan's rule the result is **inconclusive**."


def _ratios(tasks: Sequence[TaskResult]) -> list[str]:
    by: dict[str, list[float]] = {}
    for task in tasks:
        ratios = [goal.noise_over_critical for goal in task.goals if math.isfinite(goal.noise_over_critical)]
        by.setdefault(optimizer_of(task.name), []).extend(ratios)
    ranges = [
        f"{min(some):.2g} to {max(some):.2g} under {kind} ({formatting.plural(len(some), 'goal')})"
        if len(some) > 1
        else f"{some[0]:.2g} under {kind} (one goal)"
        for kind, some in by.items()
        if some
    ]
    if not ranges:
        return []
    lines = [f"- **Noise scale / critical batch** is {', '.join(ranges)}.{_same_network(tasks)}"]
    errors = [error for task in tasks if optimizer_of(task.name) == "Adam" for error in task.errors]
    errors = [error for error in errors if known(error, PATH)]
    groups = len({error.group for error in errors})
    if groups >= MIN_GROUPS:
        (path,) = (one for one in scores(errors, (PATH,)) if one.candidate == PATH and one.calibrated)
        logs = [math.log(error.critical / error.predicted[PATH]) for error in errors]
        lines.append(
            f"- **Adam tasks only** (post hoc, {groups} families): with one scale factor the error is {_factor(path)}; "
            f"the critical batch is {math.exp(sum(logs) / len(logs)):.2g} times the noise scale, geometric mean."
        )
    return lines


def optimizer_of(task: str) -> str:
    """Returns "SGD", "Adam", or "PPO on Atari" for a game."""
    return {"sgd": "SGD", "adam": "Adam"}[TASKS[task].optimizer] if task in TASKS else "PPO on Atari"


def _same_network(tasks: Sequence[TaskResult]) -> str:
    """The same digits and network under both optimizers, in a sentence."""
    ranges = {
        task.name: [goal.noise_over_critical for goal in task.goals if math.isfinite(goal.noise_over_critical)]
        for task in tasks
        if task.name in ("digits-sgd", "digits-adam")
    }
    if len(ranges) < 2 or not all(ranges.values()):
        return ""
    sgd, adam = (f"{min(ranges[name]):.2g} to {max(ranges[name]):.2g}" for name in ("digits-sgd", "digits-adam"))
    return f" The same digits and network give {sgd} under SGD and {adam} under Adam."


def _r_squared_lines(tasks: Sequence[TaskResult]) -> list[str]:
    dots = our_tasks(tasks)
    table = [dot for dot in paper_points() if dot.counts and not dot.is_bound]
    own = [dot for dot in dots if dot.counts]
    sets = {
        "the hardest scored goal of each task here (members of a family count as tasks)": own,
        "the paper's Table 1 without Dota 5v5, which has only a bound": table,
        "both together": table + own,
    }
    return [f"- Log-log r², {name}: {_r_squared(some)}" for name, some in sets.items() if len(some) >= MIN_TASKS]


def _r_squared(dots: Sequence[Task]) -> str:
    found = agreement([dot.predicted for dot in dots], [dot.measured for dot in dots])
    least = dots[found.leave_one_out.index(found.leave_one_out_lowest)].name
    return (
        f"{found.r_squared:.2f} ({found.r_squared_low:.2f} to {found.r_squared_high:.2f} over {found.tasks} tasks); "
        f"{found.leave_one_out_lowest:.2f} without {least}, its most influential point."
    )
