"""Adaptive runs compared with a sweep's front: goals reached, steps and observations needed, and the gain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlgns.critical.adaptive_gain import AdaptiveGain, adaptive_gain
from rlgns.critical.goals import reach_goals
from rlgns.critical.points import GoalFit
from rlgns.errors import UserError
from rlgns.fit.points_file import rom_name
from rlgns.formatting import NOTHING, aligned, interval, percent, rounded, short, times
from rlgns.storage.files import plain
from rlgns.storage.run_folder import RunFolder

HEAD = (
    "goal",
    "S_min",
    "E_min",
    "runs",
    "steps S",
    "observations E",
    "mean batch",
    "gamma predicted",
    "gamma measured (interval)",
    "fewer steps predicted",
    "fewer steps measured (interval)",
)

LEGEND = (
    "adaptive batch: S optimizer steps and E observations of the runs beside the front of the fixed batches,\n"
    "gamma = (S / S_min - 1) (E / E_min - 1): 1 on the front, less is better; predicted from the runs' noise scale\n"
    "fewer steps: those of the fixed batch that takes as many observations, relative to the adaptive runs'"
)

Rows = Sequence[Mapping[str, Any]]


def gains(fits: Iterable[GoalFit], runs: Sequence[tuple[str, Rows]], level: float = 0.95) -> list[AdaptiveGain]:
    """Compares runs with the front of every goal of their game.

    Args:
        fits: A sweep's.
        runs: Game and rows of each run.
        level: Of the intervals.
    """
    found = []
    for goal in fits:
        same = [rows for game, rows in runs if rom_name(game) == rom_name(goal.game)]
        if same:
            needed = [reach_goals(rows, [goal.goal_score])[0] for rows in same]
            found.append(adaptive_gain(goal, needed, level=level))
    return found


def read_runs(paths: Sequence[Path]) -> list[tuple[str, Rows]]:
    """Returns game and rows of the runs in these folders. Raises UserError where there is no run or it has no rows."""
    runs: list[tuple[str, Rows]] = []
    for folder in [folder for path in paths for folder in RunFolder.find(path)]:
        rows = folder.rows()
        if not rows:
            raise UserError(f"{folder.path}: nothing was trained there yet, its metrics.jsonl has no rows")
        runs.append((str(rows[-1].get("game") or folder.about().get("game")), rows))
    return runs


def check_games(fits: Sequence[GoalFit], runs: Sequence[tuple[str, Rows]]) -> None:
    """Raises UserError where no fit is of a run's game."""
    games = {rom_name(goal.game) for goal in fits}
    for game, _ in runs:
        if rom_name(game) not in games:
            raise UserError(f"--adaptive: a run of {game}, and the points are of {', '.join(sorted(games))}")


def gain_table(found: Sequence[AdaptiveGain]) -> str:
    """Returns the comparison as text: one block per game, one line per goal, and the result in words."""
    games = dict.fromkeys(gain.goal.game for gain in found)
    blocks = []
    for game in games:
        mine = [gain for gain in found if gain.goal.game == game]
        lines = [f"  {line}" for line in aligned([HEAD, *(cells(gain) for gain in mine)])]
        blocks.append("\n".join([f"{game}, adaptive batch", *lines, *(f"  {sentence(gain)}" for gain in mine)]))
    return "\n\n".join([*blocks, LEGEND])


def cells(gain: AdaptiveGain) -> tuple[str, ...]:
    """Returns one goal's line, in the order of HEAD; "not measured" where the front is not identified."""
    fit, missing = gain.goal.fit, "not measured" if gain.reason else ""
    known = fit.identified
    measured = missing or interval(gain.gamma, gain.gamma_low, gain.gamma_high)
    return (
        f"{gain.goal.goal_score:g}",
        short(fit.min_steps) if known else NOTHING,
        short(gain.goal.min_observations) if known else NOTHING,
        f"{gain.runs}" if gain.runs == gain.of else f"{gain.runs} of {gain.of}",
        short(gain.optimizer_steps),
        short(gain.observations),
        rounded(gain.batch_observations),
        rounded(gain.predicted_gamma),
        measured,
        times(gain.predicted_fewer_steps),
        missing or _fewer(gain),
    )


def sentence(gain: AdaptiveGain) -> str:
    """Returns one goal's result in plain words."""
    head = f"{gain.goal.goal_score:g}:"
    if gain.reason:
        return f"{head} gain not measured: {gain.reason}"
    if math.isinf(gain.fewer_steps):
        text = f"{head} reached with fewer observations than any fixed batch would need by the fit (E_min)"
        return text if gain.fewer_steps_low > 1 else text + _scatter(gain)
    low, high = gain.fewer_steps_low, gain.fewer_steps_high
    more = gain.fewer_steps >= 1
    ratio = times(gain.fewer_steps if more else 1 / gain.fewer_steps)
    text = f"{head} at equal observations {ratio} {'fewer' if more else 'more'} steps than the best fixed batch"
    return text + _scatter(gain) if low <= 1 <= high else text


def _scatter(gain: AdaptiveGain) -> str:
    return f", which {'one run' if gain.runs == 1 else 'the runs'}'{'s' if gain.runs == 1 else ''} scatter may explain"


def predicted_gain(gamma: float) -> str:
    """Returns what gamma predicts, in plain words; empty where it is not known."""
    if not math.isfinite(gamma):
        return ""
    saved = percent((1 - gamma) / 2)
    return (
        f"adaptive batch: from how the noise scale changed gamma {rounded(gamma)} is predicted, {saved} fewer steps "
        "than the fixed critical batch at equal observations"
    )


def describe_gain(gain: AdaptiveGain) -> dict[str, Any]:
    """Returns one goal's comparison in the types of JSON; null where not known or unbounded."""
    fit, goal = gain.goal.fit, gain.goal
    described: dict[str, Any] = plain(
        {
            "game": goal.game,
            "goal_score": goal.goal_score,
            "runs": gain.of,
            "runs_that_reached_it": gain.runs,
            "reason": gain.reason,
            "min_steps": fit.min_steps if fit.identified else None,
            "min_observations": goal.min_observations if fit.identified else None,
            "optimizer_steps": gain.optimizer_steps,
            "observations": gain.observations,
            "batch_observations": gain.batch_observations,
            "gamma_predicted": gain.predicted_gamma,
            "gamma": gain.gamma,
            "gamma_low": gain.gamma_low,
            "gamma_high": gain.gamma_high,
            "fewer_steps_predicted": gain.predicted_fewer_steps,
            "fewer_steps": gain.fewer_steps,
            "fewer_steps_low": gain.fewer_steps_low,
            "fewer_steps_high": gain.fewer_steps_high,
        }
    )
    return described


def _fewer(gain: AdaptiveGain) -> str:
    low, high = gain.fewer_steps_low, gain.fewer_steps_high
    if math.isinf(gain.fewer_steps):
        return f"at least {times(low)}" if math.isfinite(low) else NOTHING
    end = times(high) if math.isfinite(high) else "any"
    return f"{times(gain.fewer_steps)} ({times(low)} to {end})"
