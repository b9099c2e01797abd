"""Sections of docs/results/agreement.md: growth, stronger models, difficulty."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from benchmarks.evidence_data import TaskResult, width_of
from benchmarks.evidence_growth import critical_factor, ends, noise_by_loss, noise_by_score, noise_factor
from benchmarks.evidence_widths import BATCH, EQUAL_STEPS, TEXT_BATCH, noise_at_step, trend
from rlgns import formatting
from rlgns.critical.factor import Factor
from rlgns.critical.pareto import ParetoFit
from rlgns.envs.games import find, human_normalised
from rlgns.fit.paper import paper_goals


def growth_section(tasks: Sequence[TaskResult]) -> list[str]:
    """Returns the growth of critical batch and noise scale from the first goal to the last."""
    lines = [
        "From the first identified goal to the last:",
        "",
        "| task | goals | critical batch grows (95 %) | noise scale grows (95 %) |",
        "| --- | --- | ---: | ---: |",
    ]
    for task in tasks:
        two = ends(task.goals)
        if two is not None:
            first, last = two
            lines.append(
                f"| {task.name} | {abs(first.goal_score):g} to {abs(last.goal_score):g} | "
                f"{factor_text(critical_factor(first, last))} | {factor_text(noise_factor(first, last))} |"
            )
    for game in dict.fromkeys(goal.game for goal in paper_goals()):
        some = sorted((goal for goal in paper_goals() if goal.game == game), key=lambda goal: goal.goal_score)
        a, b = some[0], some[-1]
        lines.append(
            f"| {game}, the paper's A2C | {a.goal_score:g} to {b.goal_score:g} | "
            f"{b.critical_batch / a.critical_batch:.2g} | {b.noise_scale / a.noise_scale:.2g} |"
        )
    if any(noise_by_loss(task) for task in tasks):
        lines += ["", "![noise scale against loss](agreement-growth.svg)"]
    if any(noise_by_score(task) for task in tasks):
        lines += ["", "![noise scale against score](agreement-score.svg)"]
    return lines


def factor_text(factor: Factor) -> str:
    """Returns '2 (1.5 to 2.6)', or 'not known'."""
    if not math.isfinite(factor.value):
        return "not known"
    return f"{factor.value:.2g} ({factor.low:.2g} to {factor.high:.2g})"


def families(tasks: Sequence[TaskResult]) -> dict[str, list[TaskResult]]:
    """Returns the tasks that differ in width alone, by their common name, narrow ones first."""
    found: dict[str, list[TaskResult]] = {}
    for task in tasks:
        if "width" in task.source:
            base = re.sub(r"-\d+$", "", task.name.removesuffix(f"-w{width_of(task.name)}"))
            found.setdefault(base, []).append(task)
    return {
        base: sorted(some, key=lambda task: int(task.source["width"])) for base, some in found.items() if len(some) > 1
    }


def widths_section(tasks: Sequence[TaskResult]) -> list[str]:
    """Returns critical batch and noise scale by width, of tasks that have more than one."""
    several = families(tasks)
    if not several:
        return ['No task has been trained at a second width yet; the plan\'s section "Widths" says what is to come.']
    lines = [
        "| task | width | goal | critical batch (95 %) | noise scale, path average (95 %) |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for base, some in several.items():
        for task in some:
            for goal in task.goals:
                fit = goal.fit
                critical = formatting.interval(fit.critical_batch, fit.critical_batch_low, fit.critical_batch_high)
                lines.append(
                    f"| {base} | {task.source['width']} | {abs(goal.goal_score):g} | "
                    f"{critical if fit.identified else fit.reason} | "
                    f"{formatting.interval(goal.noise_scale, goal.noise_scale_low, goal.noise_scale_high)} |"
                )
    lines += ["", "Slope of ln critical batch on ln width, at the hardest goal that all widths identify:", ""]
    for base, some in several.items():
        goal_score, slope = trend(some)
        lines.append(
            f"- {base}, loss {abs(goal_score):g}: {slope.value:.2f} ({slope.low:.2f} to {slope.high:.2f})"
            if math.isfinite(slope.value)
            else f"- {base}: no goal is identified at every width"
        )
    lines += [
        "",
        f"Noise scale at equal steps, at batch {BATCH} (text: {TEXT_BATCH:,}). Blank where the run had ended or "
        "the noise scale is not resolved:",
        "",
    ]
    lines += [f"| task | width | {' | '.join(f'step {step}' for step in EQUAL_STEPS)} |"]
    lines += [f"| --- | ---: |{' ---: |' * len(EQUAL_STEPS)}"]
    for base, some in several.items():
        for task in some:
            values = [noise_at_step(task, step) for step in EQUAL_STEPS]
            cells = [formatting.rounded(value) if math.isfinite(value) else "" for value in values]
            lines.append(f"| {base} | {task.source['width']} | {' | '.join(cells)} |")
    return lines


def difficulty_section(tasks: Sequence[TaskResult]) -> list[str]:
    """Returns digits against MNIST, and the paper's games by difficulty."""
    at = digits_and_mnist(tasks)
    lines = []
    if len(at) == 2:
        text = " and ".join(
            f"{name} {formatting.interval(f.critical_batch, f.critical_batch_low, f.critical_batch_high)}"
            for name, f in at.items()
        )
        lines.append(f"Critical batch at loss 0.2, both with SGD: {text}. The models differ too.")
    else:
        lines.append("Digits against MNIST at loss 0.2: waits for mnist-conv.")
    hardest = {goal.game: goal for goal in sorted(paper_goals(), key=lambda goal: goal.goal_score)}
    placed = sorted((human_normalised(find(goal.game).name, goal.goal_score), goal) for goal in hardest.values())
    games = ", ".join(f"{goal.game} ({100 * human:.0f} %) {goal.critical_batch:,.0f}" for human, goal in placed)
    lines += [
        "",
        "The paper's games, by the human-normalised score of their hardest goal, with the critical batch there: "
        f"{games}. Rank correlation {_rank([goal.critical_batch for _, goal in placed]):.1f} over {len(placed)} games "
        "(positive: larger where the goal is further above a human's score), too few to tell an order from chance.",
        "",
        "Teams in one game: at equal score four players have 4.6 times (2.1 to 10) the noise scale of one player, "
        "counted in observations of players; counted in steps of the game, 1.2 times (0.52 to 2.5): "
        "[teams.md](teams.md).",
    ]
    return lines


def digits_and_mnist(tasks: Sequence[TaskResult]) -> dict[str, ParetoFit]:
    """Returns the fits of both at loss 0.2, where they are identified."""
    return {
        task.name: goal.fit
        for task in tasks
        for goal in task.goals
        if task.name in ("digits-sgd", "mnist-conv") and goal.goal_score == -0.2 and goal.fit.identified
    }


def _rank(ordered: Sequence[float]) -> float:
    """Spearman's correlation of values with their places."""
    ranks = np.argsort(np.argsort(ordered))
    return float(np.corrcoef(ranks, np.arange(len(ordered)))[0, 1])
