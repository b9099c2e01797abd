"""The interactive planner: its controls, and the numbers that planner.js computes with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from statistics import median
from typing import Any

from rlgns.report.goal_text import critical_batch_text
from rlgns.report.html_elements import data_html
from rlgns.report.sweep_data import SweepData, known

DEFAULT_THROUGHPUT = 1000.0
"""Observations per second of one machine, if no run has a measured value."""


def planner_html(sweeps: Sequence[SweepData]) -> str:
    """Returns the planner; empty where no goal has a fit."""
    goals = planner_goals(sweeps)
    if not goals:
        return ""
    groups = dict.fromkeys(goal["game"] for goal in goals)
    chosen = max(
        (place for place, goal in enumerate(goals) if goal["game"] == goals[0]["game"]),
        key=lambda p: (goals[p]["identified"], p),
    )
    options = ""
    for group in groups:
        entries = "".join(
            f'<option value="{place}"{" selected" if place == chosen else ""}>{escape(goal["name"])}</option>'
            for place, goal in enumerate(goals)
            if goal["game"] == group
        )
        options += f'<optgroup label="{escape(group)}">{entries}</optgroup>'
    rate, smallest = _throughput(sweeps), goals[chosen]["smallest_batch"]
    return (
        '<div class="planner" id="planner-box"><div class="controls">'
        f'<label>Goal<select id="x-goal">{options}</select></label>'
        f"{_number('x-machines', 'Machines', 8, 1)}"
        f"{_number('x-rate', 'Observations/s of one machine', round(rate), 1)}"
        f"{_number('x-price', 'Price of a machine-hour', 1, 0, '0.01')}"
        f"{_number('x-share', 'Batch that keeps one machine busy', round(smallest), 1)}"
        '</div><label class="slider" for="x-batch"><span>Batch size, observations per optimizer step</span>'
        '<output id="x-batch-text" for="x-batch"></output></label>'
        '<input type="range" id="x-batch" min="0" max="1000" step="1" value="500">'
        '<dl class="tiles" id="x-tiles">'
        + "".join(
            f'<div><dt>{name}</dt><dd><span class="value" id="x-{key}"></span><br><span class="note" id="x-{key}-note">'
            "</span></dd></div>"
            for key, name in (
                ("time", "Time"),
                ("observations", "Observations"),
                ("cost", "Cost"),
                ("speed", "Speed-up"),
            )
        )
        + '</dl><p id="x-advice" role="status" aria-live="polite"><strong id="x-advice-head"></strong> '
        '<span id="x-advice-more"></span></p>'
        '<div class="chart" id="x-chart" role="img" aria-label="Optimizer steps against observations for the '
        'chosen goal, with the chosen batch size marked" style="height:400px"></div>'
        '<p class="soft" id="x-note"></p>'
        f"</div>{data_html(goals, 'planner-data')}"
    )


def planner_goals(sweeps: Sequence[SweepData]) -> list[dict[str, Any]]:
    """Returns what planner.js needs of every goal that has a fit; also part of --json."""
    found = []
    for sweep in sweeps:
        for game, goal in sweep.goals:
            fit = goal.fit
            if not all(map(math.isfinite, (fit.critical_batch, fit.min_steps, goal.min_observations))):
                continue
            title = sweep.title_of(game, len(sweeps) > 1)
            found.append(
                {
                    "game": title,
                    "name": f"{title}, {game.goal_text(goal)}",
                    "score": game.goal_text(goal),
                    "critical_batch": fit.critical_batch,
                    "critical_batch_text": critical_batch_text(goal),
                    "min_steps": fit.min_steps,
                    "min_observations": goal.min_observations,
                    "identified": fit.identified,
                    "reason": fit.reason,
                    "smallest_batch": min(goal.batches_used),
                    "largest_batch": max(goal.batches_used),
                    "points": [
                        [point.batch_observations, known(point.optimizer_steps), known(point.observations)]
                        for point in goal.points
                    ],
                }
            )
    return found


def _number(anchor: str, name: str, value: float, least: float, step: str = "any") -> str:
    return (
        f'<label>{name}<input type="number" id="{anchor}" min="{least}" step="{step}" value="{value:g}" '
        'inputmode="decimal"></label>'
    )


def _throughput(sweeps: Sequence[SweepData]) -> float:
    rates = [
        float(run.last["observations"]) / float(run.last["seconds"])
        for sweep in sweeps
        for run in sweep.runs
        if run.last.get("seconds")
    ]
    return median(rates) if rates else DEFAULT_THROUGHPUT
