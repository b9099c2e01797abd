"""Scores over games: interquartile mean and performance profile of human-normalised scores, bootstrapped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rlgns import formatting
from rlgns.critical.scores import iqm, performance_profile
from rlgns.formatting import plural
from rlgns.report.figure import BLUE, Figure, axes, band, line
from rlgns.report.run_data import RunData


def scores_by_game(runs: Sequence[RunData], *, best_of_seed: bool = False) -> dict[str, list[float]]:
    """Returns the last human-normalised score of each run, by game.

    Args:
        runs: The runs; those without a finished game are left out.
        best_of_seed: Keep only the highest score of each game and seed, for the runs of a sweep.
    """
    found: dict[str, dict[object, float]] = {}
    for number, run in enumerate(runs):
        score = run.last.get("human_normalised_score")
        if score is None or not math.isfinite(score):
            continue
        game = str(run.about.get("game", run.last.get("game", run.label)))
        seed = (run.config.get("run") or {}).get("seed") if best_of_seed else number
        of_game = found.setdefault(game, {})
        of_game[seed] = max(score, of_game.get(seed, -math.inf))
    return {game: list(scores.values()) for game, scores in found.items()}


def score_profile_figure(scores: Mapping[str, Sequence[float]]) -> Figure | None:
    """Returns the performance profile of these scores; None for a single run."""
    runs = sum(len(of_game) for of_game in scores.values())
    if runs < 2:
        return None
    mean, profile = iqm(scores), performance_profile(scores)
    x = [100 * threshold for threshold in profile.thresholds]
    share = [100 * value for value in profile.share]
    low, high = ([100 * v if math.isfinite(v) else None for v in ends] for ends in (profile.low, profile.high))
    interval = (
        f" ({formatting.percent(mean.low)} to {formatting.percent(mean.high)})" if math.isfinite(mean.low) else ""
    )
    above_human = performance_profile(scores, [1.0], resamples=2).share[0]
    sentence = (
        f"The interquartile mean of the human-normalised score over {plural(len(scores), 'game')} and "
        f"{plural(runs, 'run')} is {formatting.percent(mean.value)}{interval}, where random play is 0 % and a human "
        f"tester 100 %; {formatting.percent(above_human)} of the runs are above a human."
    )
    if not interval:
        sentence += " There is no interval, as every game has one seed."
    traces = [
        *band(x, low, high, BLUE),
        line(x, share, "share of runs above", BLUE, hovertemplate="%{y:.0f} % of runs"),
    ]
    layout = axes("human-normalised score, %", "runs above it, %", legend=False)
    layout["xaxis"] |= {"tickformat": ",~r"}
    layout["yaxis"] |= {"range": [-2, 102]}
    return Figure(
        name="profile",
        title="Scores over games: performance profile",
        sentence=sentence,
        traces=traces,
        layout=layout,
        header=("human_normalised_percent", "runs_above_percent", "low", "high"),
        table=list(zip(x, share, low, high, strict=True)),
        height=300,
    )
