"""One game of a sweep: critical batch and noise scale at each score goal, over the paper's curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rlgns import formatting
from rlgns.critical.points import GoalFit
from rlgns.report.figure import (
    BLUE,
    ORANGE,
    Figure,
    Values,
    band,
    line,
    log_axes,
    log_axis,
    positive,
)
from rlgns.report.goal_text import critical_batch_text, growth_text, noise_over_critical_text
from rlgns.report.sweep_data import GameData, known


def against_score_figure(game: GameData) -> Figure:
    """Draws critical batch and noise scale at each goal, with intervals, over the paper's curves."""
    goals = game.goals
    scores = [game.goal_number(goal) for goal in goals]
    critical = _ends(
        [
            (goal.fit.critical_batch, goal.fit.critical_batch_low, goal.fit.critical_batch_high)
            if goal.fit.identified
            else (None, None, None)
            for goal in goals
        ]
    )
    noise = _ends([(goal.noise_scale, goal.noise_scale_low, goal.noise_scale_high) for goal in goals])
    traces: list[dict[str, Any]] = []
    if game.paper:
        at = [entry.goal_score for entry in game.paper]
        behind = (("critical batch", BLUE, "dot"), ("noise scale", ORANGE, "dot"))
        for (name, color, dash), values in zip(
            behind,
            ([e.critical_batch for e in game.paper], [e.noise_scale for e in game.paper]),
            strict=True,
        ):
            traces.append(line(at, values, f"{name}, paper (A2C)", color, dash, opacity=0.8))
    for name, color, symbol, ends in (
        ("critical batch", BLUE, "circle", critical),
        ("noise scale", ORANGE, "square", noise),
    ):
        if any(value is not None for value in ends[0]):
            traces += _with_interval(scores, ends, name, color, symbol)
    for name, color, bounds, symbol in (
        ("critical batch at least", BLUE, [_only_low(goal) for goal in goals], "triangle-up-open"),
        ("critical batch at most", BLUE, [_only_high(goal) for goal in goals], "triangle-down-open"),
        ("noise scale at least", ORANGE, _only_low_ends(noise), "triangle-up"),
    ):
        if any(value is not None for value in bounds):
            traces.append(
                line(scores, bounds, name, color, marker={"color": color, "symbol": symbol, "size": 9}, mode="markers")
            )
    title = f"{game.title}: critical batch and noise scale against {game.measure}"
    if not any(value is not None for trace in traces for value in trace["y"]):
        return Figure(
            name="against-score", title=title, sentence="Neither the critical batch nor the noise scale is known."
        )
    layout = log_axes(game.measure, "observations", traces)
    every = [value for trace in traces for value in trace["x"] if value is not None]
    if min(every) > 0 and max(every) / min(every) > 30:
        layout["xaxis"] |= log_axis(every)
    else:
        layout["xaxis"] |= {"tickformat": ",~r"}
    names = [f"{kind}{end}" for kind in ("critical_batch", "noise_scale") for end in ("", "_low", "_high")]
    return Figure(
        name="against-score",
        title=title,
        sentence=_score_sentence(game),
        traces=traces,
        layout=layout,
        header=("goal_score", *names, "identified"),
        table=[
            (
                goal.goal_score,
                *(
                    known(v)
                    for v in (
                        goal.fit.critical_batch,
                        goal.fit.critical_batch_low,
                        goal.fit.critical_batch_high,
                        goal.noise_scale,
                        goal.noise_scale_low,
                        goal.noise_scale_high,
                    )
                ),
                goal.fit.identified,
            )
            for goal in goals
        ],
    )


def _ends(goals: Sequence[tuple[float | None, ...]]) -> tuple[Values, Values, Values]:
    """Returns values, low ends and high ends, each over the goals; None where a log axis cannot show them."""
    mid, low, high = (positive(entry[place] for entry in goals) for place in range(3))
    return mid, low, high


def _only_low_ends(ends: tuple[Values, Values, Values]) -> Values:
    """Returns the low ends where nothing else is known."""
    return [low if mid is None and high is None else None for mid, low, high in zip(*ends, strict=True)]


def _with_interval(
    x: list[float], ends: tuple[Values, Values, Values], name: str, color: str, symbol: str
) -> list[dict[str, Any]]:
    mid, low, high = ends
    text = [formatting.interval(*entry) for entry in zip(mid, low, high, strict=True)]
    marker = {"color": color, "size": 8, "symbol": symbol}
    error = {
        "type": "data",
        "symmetric": False,
        "array": [_distance(m, h) for m, h in zip(mid, high, strict=True)],
        "arrayminus": [_distance(v, m) for m, v in zip(mid, low, strict=True)],
        "thickness": 1.2,
        "width": 3,
        "color": color,
    }
    middle = line(x, mid, name, color, customdata=text, hovertemplate="%{customdata}", mode="lines+markers")
    return [*band(x, low, high, color, f"{name}, interval"), middle | {"marker": marker, "error_y": error}]


def _distance(low: float | None, high: float | None) -> float:
    return 0.0 if low is None or high is None else high - low


def _score_sentence(game: GameData) -> str:
    fits = game.identified
    parts = []
    if len(fits) > 1:
        first, last = fits[0], fits[-1]
        parts.append(
            f"From {game.goal_text(first)} to {game.goal_number(last):,g} the critical batch "
            f"{growth_text(first.fit.critical_batch, last.fit.critical_batch)}, from {critical_batch_text(first)} to "
            f"{critical_batch_text(last)} observations."
        )
    elif fits:
        (only,) = fits
        parts.append(f"At {game.goal_text(only)} the critical batch is {critical_batch_text(only)} observations.")
    else:
        parts.append("The critical batch is not identified at any goal.")
    ratios = noise_over_critical_text(fits)
    if ratios:
        parts.append(ratios)
    elif any(known(goal.noise_scale) for goal in game.goals):
        parts.append("The noise scale was measured, but there is no critical batch to compare it with.")
    if game.paper:
        parts.append("Dotted: what McCandlish et al. 2018 measured with A2C, read off their figures.")
    return " ".join(parts)


def _only_low(goal: GoalFit) -> float | None:
    low, high = goal.fit.critical_batch_low, goal.fit.critical_batch_high
    return low if not goal.fit.identified and low > 0 and math.isinf(high) else None


def _only_high(goal: GoalFit) -> float | None:
    low, high = goal.fit.critical_batch_low, goal.fit.critical_batch_high
    return high if not goal.fit.identified and not low > 0 and math.isfinite(high) else None
