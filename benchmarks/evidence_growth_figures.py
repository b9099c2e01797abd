"""Figures of growth: noise scale against loss, and against score beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.evidence_data import TaskResult
from benchmarks.evidence_growth import noise_by_loss, noise_by_score
from rlgns.envs.games import find, human_normalised
from rlgns.fit.paper import paper_goals
from rlgns.report.figure import CATEGORIES, GREY, Figure, axes, line, log_axis

DASHES = ("solid", "dot", "dash", "dashdot")


def loss_traces(tasks: Sequence[TaskResult]) -> Figure | None:
    """Draws the noise scale against the loss of every task with rows; None where there is none."""
    traces = [
        _curve(curve, task.name, *_style(index)) for index, task in enumerate(tasks) if (curve := noise_by_loss(task))
    ]
    if not traces:
        return None
    figure = _figure("growth", "Noise scale against loss", "loss (training goes to the right)", traces)
    figure.layout["xaxis"]["range"] = figure.layout["xaxis"]["range"][::-1]
    return figure


def score_traces(tasks: Sequence[TaskResult]) -> Figure | None:
    """Draws the noise scale against the human-normalised score of every game, and the paper's; None without a game."""
    own = [
        _curve([(100 * score, noise) for score, noise in curve], task.name, *_style(index))
        for index, task in enumerate(tasks)
        if (curve := noise_by_score(task))
    ]
    if not own:
        return None
    paper = []
    for place, game in enumerate(dict.fromkeys(goal.game for goal in paper_goals())):
        goals = sorted((goal for goal in paper_goals() if goal.game == game), key=lambda goal: goal.goal_score)
        points = [(100 * human_normalised(find(game).name, goal.goal_score), goal.noise_scale) for goal in goals]
        known = [(x, y) for x, y in points if x > 0 and y > 0]
        paper.append(_curve(known, f"{game}, the paper's A2C", GREY, DASHES[place % len(DASHES)]))
    return _figure("score", "Noise scale against score", "human-normalised score, %", [*paper, *own])


def _style(index: int) -> tuple[str, str]:
    """A colour and dash of each task's own."""
    return CATEGORIES[index % len(CATEGORIES)], DASHES[index // len(CATEGORIES) % len(DASHES)]


def _curve(points: Sequence[tuple[float, float]], name: str, color: str, dash: str) -> dict[str, Any]:
    return line([x for x, _ in points], [y for _, y in points], name, color, dash, mode="lines+markers")


def _figure(name: str, title: str, x_title: str, traces: list[dict[str, Any]]) -> Figure:
    layout = axes(x_title, "noise scale (images, words, observations)", hover="closest")
    layout["xaxis"] |= log_axis(x for trace in traces for x in trace["x"])
    layout["yaxis"] |= log_axis(y for trace in traces for y in trace["y"])
    return Figure(name=name, title=title, sentence="", traces=traces, layout=layout, height=380)
