"""All games of a page together: their difficulty against their critical batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rlgns import formatting
from rlgns.report.figure import (
    BLUE,
    ORANGE,
    Figure,
    axes,
    label,
    log_axis,
)
from rlgns.report.goal_text import critical_batch_text
from rlgns.report.sweep_data import GameData, known

MAX_CHANCE = 0.05
"""Largest p-value at which a rank correlation counts as an order."""


def difficulty_figure(games: Sequence[GameData]) -> Figure | None:
    """Draws games from hard to easy against their critical batches; None for fewer than two games."""
    placed = []
    for game in games:
        human = game.human_normalised(game.identified[-1].goal_score) if game.identified else None
        if human is not None:
            placed.append((human, game, game.identified))
    if len(placed) < 2:
        return None
    placed.sort(key=lambda entry: entry[0])
    names = [f"{label(game.title)} ({formatting.percent(human)})" for human, game, _ in placed]
    traces: list[dict[str, Any]] = []
    for name, (_, _, fits) in zip(names, placed, strict=True):
        ends = [fits[0].fit.critical_batch, fits[-1].fit.critical_batch]
        style = {"line": {"color": BLUE, "width": 2}, "mode": "lines", "hoverinfo": "skip", "showlegend": False}
        traces.append({"x": ends, "y": [name, name], **style})
    for end, which, symbol in (
        (0, "critical batch, easiest goal", "circle-open"),
        (-1, "critical batch, hardest goal", "circle"),
    ):
        at = [entry[2][end] for entry in placed]
        values = [goal.fit.critical_batch for goal in at]
        traces.append(_dots(values, names, which, BLUE, symbol, [critical_batch_text(goal) for goal in at]))
    noise = [known(entry[2][-1].noise_scale) for entry in placed]
    if any(value is not None for value in noise):
        traces.append(
            _dots(noise, names, "noise scale, hardest goal", ORANGE, "square", [formatting.rounded(v) for v in noise])
        )
    layout = axes("observations", "", hover="closest")
    layout["xaxis"] |= log_axis(value for trace in traces for value in trace["x"])
    layout["yaxis"] |= {"type": "category", "autorange": "reversed"}
    last = [entry[2][-1].fit.critical_batch for entry in placed]
    texts = [critical_batch_text(entry[2][-1]) for entry in placed]
    hardest, easiest = placed[0][1], placed[-1][1]
    largest = placed[last.index(max(last))][1]
    sentence = (
        f"Games from hard (top) to easy, by the score of their hardest goal (random play is 0 %, a human tester "
        f"100 %). The critical batch at that goal is {texts[0]} for the hardest, {hardest.title}, "
        f"and {texts[-1]} for the easiest, {easiest.title}; the largest best estimate is that of {largest.title}, "
        f"{texts[last.index(max(last))]}."
    )
    if len(placed) > 2:
        sentence += f" {_rank_words([entry[0] for entry in placed], last)}"
    return Figure(
        name="difficulty",
        title="Games by difficulty against critical batch",
        sentence=sentence,
        traces=traces,
        layout=layout,
        header=(
            "game",
            "human_normalised_goal",
            "critical_batch_easiest_goal",
            "critical_batch_hardest_goal",
            "noise_scale",
        ),
        table=[
            (game.name, human, fits[0].fit.critical_batch, fits[-1].fit.critical_batch, value)
            for (human, game, fits), value in zip(placed, noise, strict=True)
        ],
        height=150 + 40 * len(placed),
    )


def _dots(
    x: Sequence[float | None], y: Sequence[str], name: str, color: str, symbol: str, text: Sequence[str]
) -> dict[str, Any]:
    marker = {"color": color, "symbol": symbol, "size": 10, "line": {"width": 2, "color": color}}
    hover = "%{y}: %{customdata}"
    return {
        "x": list(x),
        "y": list(y),
        "mode": "markers",
        "name": name,
        "marker": marker,
        "customdata": list(text),
        "hovertemplate": hover,
    }


def _rank_words(human: Sequence[float], critical: Sequence[float]) -> str:
    from scipy.stats import spearmanr

    test = spearmanr(human, critical)
    rank, chance = float(test.statistic), float(test.pvalue)
    if not math.isfinite(rank):
        return ""
    trend = "smaller for easier games" if rank < 0 else "larger for easier games"
    order = trend if chance < MAX_CHANCE else "no significant order"
    return f"Over {len(human)} games: {order} (rank correlation {formatting.rounded(rank)})."
