"""The output of `rlgns fit`: the trade-off of every game and goal, as text and as JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from rlgns.critical.points import GoalFit
from rlgns.formatting import MEASURING, NOTHING, aligned, interval, rounded, short, times
from rlgns.storage.files import plain

_HEAD = ("goal", "critical batch (interval)", "S_min", "E_min", "rms", "points", "noise scale (interval)", "ratio")


def table(fits: Iterable[GoalFit], level: float) -> str:
    """Returns the fits as text: one block per game, one line per goal; noise scales only where there are any."""
    games: dict[str, list[GoalFit]] = {}
    for goal in fits:
        games.setdefault(goal.game, []).append(goal)
    return "\n\n".join([*(_block(game, goals) for game, goals in games.items()), _legend(level)])


def describe_fit(goal: GoalFit) -> dict[str, Any]:
    """Returns one goal's fit in the types of JSON; null where not known or unbounded."""
    fit = goal.fit
    described: dict[str, Any] = plain(
        {
            "game": goal.game,
            "goal_score": goal.goal_score,
            "critical_batch": fit.critical_batch,
            "critical_batch_low": fit.critical_batch_low,
            "critical_batch_high": fit.critical_batch_high,
            "min_steps": fit.min_steps,
            "min_steps_low": fit.min_steps_low,
            "min_steps_high": fit.min_steps_high,
            "min_observations": goal.min_observations,
            "min_observations_low": fit.min_observations_low / goal.reuse,
            "min_observations_high": fit.min_observations_high / goal.reuse,
            "identified": fit.identified,
            "reason": fit.reason,
            "level": fit.level,
            "rms": fit.rms,
            "r_squared": fit.r_squared,
            "points_used": fit.points_used,
            "batch_sizes": fit.batch_sizes,
            "failed_batches": [goal.points[place].batch_observations for place in fit.failed],
            "outlier_batches": [goal.points[place].batch_observations for place in fit.outliers],
            "observation_reuse": goal.reuse,
            "noise_scale": goal.noise_scale,
            "noise_scale_low": goal.noise_scale_low,
            "noise_scale_high": goal.noise_scale_high,
            "noise_over_critical": goal.noise_over_critical,
        }
    )
    return described


def _block(game: str, goals: list[GoalFit]) -> str:
    measured = any(goal.noise_scale_low > 0 or goal.noise_scale > 0 for goal in goals)
    rows: list[tuple[str, ...]] = [_HEAD if measured else _HEAD[:6]]
    rows += [_cells(goal) if measured else _cells(goal)[:6] for goal in goals]
    lines = [f"  {line}" for line in aligned(rows)]
    notes = [note for goal in goals for note in _notes(goal)]
    return "\n".join([game, *lines, *notes])


def _cells(goal: GoalFit) -> tuple[str, ...]:
    fit = goal.fit
    mid = fit.critical_batch if fit.identified else None
    known = fit.identified
    return (
        f"{goal.goal_score:g}",
        interval(mid, fit.critical_batch_low, fit.critical_batch_high) if fit.points_used > 2 else NOTHING,
        short(fit.min_steps) if known else NOTHING,
        short(goal.min_observations) if known else NOTHING,
        rounded(fit.rms),
        f"{fit.points_used}" if fit.points_used == len(goal.points) else f"{fit.points_used} of {len(goal.points)}",
        interval(goal.noise_scale, goal.noise_scale_low, goal.noise_scale_high).replace(MEASURING, NOTHING),
        times(goal.noise_over_critical),
    )


def never_reached(goal: GoalFit) -> str:
    """Returns which runs never reached a goal: 'the run at batch 64 never reached it'."""
    batches = Counter(goal.points[place].batch_observations for place in goal.fit.failed)
    named = [f"{batch:,g}{f' ({number})' if number > 1 else ''}" for batch, number in batches.items()]
    runs = "run" if batches.total() == 1 else "runs"
    return f"the {runs} at batch {', '.join(named)} never reached it"


def _notes(goal: GoalFit) -> list[str]:
    """Lines below a block: why a goal is not identified, which runs were left out."""
    head = f"  {goal.goal_score:g}:"
    notes = [f"{head} {goal.fit.reason}"] if goal.fit.reason else []
    if goal.fit.failed and goal.fit.points_used:
        notes.append(f"{head} {never_reached(goal)}")
    for place in goal.fit.outliers:
        slower = times(math.exp(goal.fit.residuals[place]))
        batch = f"{goal.points[place].batch_observations:,g}"
        notes.append(
            f"{head} the run at batch {batch} took {slower} the steps that the other runs predict; left out as failed"
        )
    return notes


def _legend(level: float) -> str:
    return (
        f"critical batch in observations per optimizer step, {100 * level:g} % interval\n"
        "S_min: fewest optimizer steps, E_min: fewest observations to the goal\n"
        "rms: distance of ln steps from the law S = S_min (1 + critical batch / B)"
    )
