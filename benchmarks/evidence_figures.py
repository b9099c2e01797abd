"""The page's first figure, predicted against measured critical batch, and how a figure becomes a file."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.contest_scores import PATH, GoalErrors, factors
from benchmarks.evidence_data import TaskResult
from rlgns.fit.paper import paper_goals, paper_tasks
from rlgns.report.agreement_figure import Task, dots
from rlgns.report.figure import CATEGORIES, GREY, PURPLE, SYMBOLS, Figure, axes, line, log_axis
from rlgns.report.image_renderer import render
from rlgns.report.images import standalone

TABLE_1, PAPER_GOALS = "paper, Table 1", "paper, Atari goals"
WIDTH = 960


def our_tasks(tasks: Sequence[TaskResult]) -> list[Task]:
    """Returns a dot per identified goal with a noise scale; the hardest of each task counts."""
    found = []
    for task in tasks:
        both = [goal for goal in task.goals if goal.fit.identified and goal.noise_scale > 0]
        found += [
            Task(
                name=f"{task.name} at {abs(goal.goal_score):g}",
                group=task.name,
                predicted=goal.noise_scale,
                measured=goal.fit.critical_batch,
                predicted_ends=(goal.noise_scale_low, goal.noise_scale_high),
                measured_ends=(goal.fit.critical_batch_low, goal.fit.critical_batch_high),
                counts=goal is both[-1],
            )
            for goal in both
        ]
    return found


def paper_points() -> list[Task]:
    """Returns Table 1 and the paper's goals on Atari."""
    table = [
        Task(
            name=row.task, group=TABLE_1, predicted=row.noise_scale_average, measured=row.critical_batch_end,
            is_bound=row.bound, counts=True,
        )
        for row in paper_tasks()
    ]  # fmt: skip
    games = [
        Task(name=goal.game, group=PAPER_GOALS, predicted=goal.noise_scale, measured=goal.critical_batch)
        for goal in paper_goals()
    ]
    return table + games


def calibrated(dots: Sequence[Task], group_of_task: dict[str, str]) -> list[Task]:
    """Returns the dots with noise scales times the factor of the other groups of the same set.

    Args:
        dots: of one set: ours, Table 1 or the paper's games.
        group_of_task: by the dot's group, or by its name, the group that shares a factor.
    """

    def key(dot: Task) -> str:
        return group_of_task.get(dot.group, dot.name)

    errors = [
        GoalErrors(task=f"{key(d)} {d.group}", group=key(d), goal=0, critical=d.measured, predicted={PATH: d.predicted})
        for d in dots
        if not d.is_bound
    ]
    found = factors(errors, PATH) if errors else {}
    moved = []
    for dot in dots:
        factor = found.get(key(dot))
        if factor is not None and factor == factor:
            low, high = (None if end is None else end * factor for end in dot.predicted_ends)
            moved.append(dataclasses.replace(dot, predicted=dot.predicted * factor, predicted_ends=(low, high)))
    return moved


def agreement_traces(tasks: Sequence[TaskResult]) -> Figure:
    """Draws both panels: as measured, and with one factor from the other tasks."""
    ours, paper = our_tasks(tasks), paper_points()
    groups = {task.name: task.group for task in tasks}
    table = [dot for dot in paper if dot.group == TABLE_1]
    games = [dot for dot in paper if dot.group == PAPER_GOALS]
    sets = [[ours, table, games], [calibrated(some, groups) for some in (ours, table, games)]]
    sizes = [size for panel in sets for some in panel for dot in some for size in (dot.predicted, dot.measured)]
    low, high = min(sizes) / 2, max(sizes) * 2
    traces: list[dict[str, Any]] = []
    for place, panel in enumerate(sets):
        where = {"xaxis": "x2" if place else "x", "yaxis": "y2" if place else "y", "showlegend": not place}
        traces.append(line([low, high], [low, high], "noise scale = critical batch", GREY, "dot") | where)
        own, table_dots, game_dots = panel
        for some, name, color, symbol, size in (
            (game_dots, PAPER_GOALS, GREY, "circle-open", 6),
            (table_dots, TABLE_1, PURPLE, "square-open", 9),
        ):
            traces.append(dots(some, name, color, symbol, size) | where)
        for index, task in enumerate(tasks):
            mine = [dot for dot in own if dot.group == task.name]
            if mine:
                color = CATEGORIES[index % len(CATEGORIES)]
                symbol = SYMBOLS[(index + 2 * (index // len(CATEGORIES))) % len(SYMBOLS)]
                traces.append(dots(mine, task.name, color, symbol, 10) | where)
    layout = axes("noise scale, as measured", "critical batch (images, words, observations)", hover="closest")
    second = {"anchor": "y2", "domain": [0.53, 1], "title": {"text": "noise scale times the others' factor"}}
    layout["xaxis2"] = layout["xaxis"] | second
    layout["yaxis2"] = {**layout["yaxis"], "anchor": "x2", "matches": "y", "showticklabels": False, "title": {}}
    layout["xaxis"] |= {"domain": [0, 0.47]}
    for axis in ("xaxis", "xaxis2", "yaxis", "yaxis2"):
        layout[axis] |= log_axis([low, high])
    return Figure(
        name="agreement",
        title="Critical batch against noise scale",
        sentence="",
        traces=traces,
        layout=layout,
        height=480,
    )


def draw(figure: Figure, path: Path) -> None:
    """Writes a figure as SVG. Raises UserError without a browser."""
    options = {"format": "svg", "width": WIDTH, "height": figure.height + 40, "scale": 1}
    render([{"fig": standalone(figure), "path": str(path), "opts": options}])
    text = path.read_text()
    # Plotly's random names, so that the same figure gives the same file.
    random = dict.fromkeys(re.findall(r'id="defs-(\w{6})"|\btrace(\w{6})"', text))
    for place, names in enumerate(random):
        text = re.sub(f"(?<=[a-z]|-){''.join(names)}(?![0-9])", f"{figure.name}{place}", text)
    path.write_text(text)
