"""Figures of one game of a sweep: the Pareto fronts of its goals, and the speed-up from larger batches."""

from __future__ import annotations

import math
from typing import Any

from rlgns import formatting
from rlgns.critical.advice import step_ratio
from rlgns.critical.points import GoalFit
from rlgns.formatting import plural
from rlgns.report.figure import (
    BLUE,
    GREY,
    ORANGE,
    SYMBOLS,
    THREE_DIGITS,
    Figure,
    band,
    line,
    log_axes,
    log_axis,
    shades,
)
from rlgns.report.goal_text import critical_batch_text
from rlgns.report.sweep_data import GameData, known


def pareto_figure(game: GameData) -> Figure:
    """Draws observations against optimizer steps to each goal, a point per run, with the fitted front."""
    colors = shades(len(game.goals))
    traces: list[dict[str, Any]] = []
    for place, (goal, color) in enumerate(zip(game.goals, colors, strict=True)):
        traces += pareto_traces(goal, f"{game.goal_number(goal):,g}", color, SYMBOLS[place % len(SYMBOLS)])
    table = [
        (
            goal.goal_score,
            p.batch_observations,
            known(p.optimizer_steps),
            known(p.observations),
            p.learning_rate,
            p.seed,
        )
        for goal in game.goals
        for p in goal.points
    ]
    title = f"{game.title}: optimizer steps against observations"
    header = ("goal_score", "batch_observations", "optimizer_steps", "observations", "learning_rate", "seed")
    drawn = [trace for trace in traces if any(value is not None for value in trace["x"])]
    if not drawn:
        return Figure(name="pareto", title=title, sentence=f"No run has reached a goal of {game.title} yet.")
    layout = log_axes("optimizer steps to the goal", "observations to the goal", drawn) | {"hovermode": "closest"}
    layout["xaxis"] |= log_axis(value for trace in drawn for value in trace["x"])
    layout["legend"] |= {"title": {"text": game.measure}}
    return Figure(
        name="pareto",
        title=title,
        sentence=_pareto_sentence(game),
        traces=drawn,
        layout=layout,
        header=header,
        table=table,
        height=440,
    )


def pareto_traces(goal: GoalFit, name: str, color: str, symbol: str = "circle") -> list[dict[str, Any]]:
    """Returns the points of one goal (open: left out by the fit) and its front (dashed: not identified)."""
    left_out = set(goal.fit.outliers)
    points = {
        "x": [known(p.optimizer_steps) for p in goal.points],
        "y": [known(p.observations) for p in goal.points],
        "customdata": [formatting.count(p.batch_observations) for p in goal.points],
        "mode": "markers",
        "name": name,
        "legendgroup": name,
        "marker": {
            "color": color,
            "size": 8,
            "symbol": [f"{symbol}-open" if place in left_out else symbol for place in range(len(goal.points))],
        },
        "hovertemplate": f"batch %{{customdata}}<br>%{{x:{THREE_DIGITS}}} steps<br>%{{y:{THREE_DIGITS}}} observations",
    }
    batches = goal.batches_used
    if not math.isfinite(goal.fit.min_steps) or not math.isfinite(goal.min_observations):
        return [points]
    first, last = math.log(min(batches) / 1.5), math.log(max(batches) * 1.5)
    grid = [math.exp(first + (last - first) * step / 60) for step in range(61)]
    curve = line(
        [goal.fit.steps(batch) for batch in grid],
        [goal.fit.observations(batch) / goal.reuse for batch in grid],
        name,
        color,
        "solid" if goal.fit.identified else "dash",
        legendgroup=name,
        showlegend=False,
        hoverinfo="skip",
        hovertemplate=None,
    )
    return [curve, points]


def _pareto_sentence(game: GameData) -> str:
    fits, reached = game.identified, [g for g in game.goals if any(p.reached for p in g.points)]
    if not fits:
        if len(game.goals) == 1:
            return f"The critical batch at {game.goal_text(game.goals[0])} is {game.goals[0].fit.reason}."
        return (
            f"The critical batch is identified at none of the {len(game.goals)} goals; the reasons are "
            "below the table. Dashed lines, if any, are the best fits nevertheless."
        )
    easy, hard = fits[0], fits[-1]
    sentence = (
        "Each point is one run to a goal. Small batches are on the right, with the fewest observations; large "
        f"batches are at the top, with the fewest steps. At {game.goal_text(hard)} the two balance at a critical "
        f"batch of {critical_batch_text(hard)} observations"
    )
    if len(fits) > 1:
        sentence += f"; at {game.goal_text(easy)} at {critical_batch_text(easy)}"
    sentence += "."
    vague = len(reached) - len(fits)
    if vague:
        sentence += f" {plural(vague, 'goal is', 'goals are')} not identified (dashed)."
    missed = len(game.goals) - len(reached)
    if missed:
        sentence += f" {plural(missed, 'goal was', 'goals were')} never reached."
    out = sum(len(goal.fit.outliers) for goal in game.goals)
    if out:
        sentence += f" {plural(out, 'slow run was', 'slow runs were')} left out (open)."
    return sentence


def speed_up_figure(game: GameData) -> Figure:
    """Draws the speed-up over the smallest batch in steps: measured, fitted, and with the noise scale for C."""
    title = f"{game.title}: speed-up against batch size"
    goal = next((g for g in reversed(game.identified)), None)
    if goal is None:
        return Figure(
            name="speed-up", title=title, sentence="The speed-up is not known without an identified critical batch."
        )
    first, last = min(goal.batches_used), max(goal.batches_used)
    grid = [first * (last / first) ** (step / 60) for step in range(61)]
    base = goal.fit.steps(first)
    reached = [p for p in goal.points if p.reached]
    x = [p.batch_observations for p in reached]
    measured = line(
        x,
        [base / p.optimizer_steps for p in reached],
        "measured",
        ORANGE,
        mode="markers",
        marker={"color": ORANGE, "size": 9},
    )
    low, high = _gains(goal.fit.critical_batch_low, goal.fit.critical_batch_high, grid)
    traces = [
        line(grid, [batch / first for batch in grid], "perfect: twice the batch, half the steps", GREY, "dot"),
        *band(grid, low, high, BLUE, "fit, interval"),
        line(grid, [base / goal.fit.steps(batch) for batch in grid], "fit", BLUE),
        measured,
    ]
    sentence = (
        f"To {game.goal_text(goal)}, a batch of {formatting.count(last)} takes by the fit "
        f"{formatting.times(base / goal.fit.steps(last))} "
        f"({formatting.times(low[-1])} to {formatting.times(high[-1])}) fewer steps than one of "
        f"{formatting.count(first)} ({formatting.times(last / first)} the batch)."
    )
    if known(goal.noise_scale):
        predicted, _ = _gains(goal.noise_scale, goal.noise_scale, grid)
        traces.append(line(grid, predicted, "if the critical batch were the noise scale", ORANGE, "dash"))
        sentence += f" With these runs' noise scale as critical batch it would be {formatting.times(predicted[-1])}."
    layout = log_axes("batch size (observations)", "times fewer steps", traces)
    layout["xaxis"] |= log_axis(grid)
    return Figure(
        name="speed-up",
        title=title,
        sentence=sentence,
        traces=traces,
        layout=layout,
        header=("batch_observations", "optimizer_steps", "speed_up", "speed_up_fitted"),
        table=[
            (
                p.batch_observations,
                p.optimizer_steps,
                base / p.optimizer_steps,
                base / goal.fit.steps(p.batch_observations),
            )
            for p in reached
        ],
    )


def _gains(low: float, high: float, grid: list[float]) -> tuple[list[float], list[float]]:
    """Returns the speed-ups over the first batch of `grid` at two critical batches."""
    ends = [[1 / step_ratio(critical, grid[0], batch / grid[0]) for batch in grid] for critical in (low, high)]
    return ends[0], ends[1]
