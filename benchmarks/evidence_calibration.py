"""Section "PPO's calibration" of docs/results/agreement.md: what the games' sweeps say, each game left out in turn."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.evidence_data import TaskResult
from examples.tasks.settings import TASKS
from rlgns import formatting
from rlgns.critical.calibration import FEWEST_GAMES, Calibration
from rlgns.critical.points import GoalFit
from rlgns.fit.calibration import Measured, make_calibration, measured_by

EPOCHS = 4
"""Of the shipped sweeps of games."""


def calibration_section(tasks: Sequence[TaskResult]) -> list[str]:
    """Returns the fit to all goals of games, and each game's goals and runs in the interval of the others."""
    goals = [goal for task in tasks if task.name not in TASKS for goal in task.goals]
    measured = measured_by(goals)
    two_sided = [(ratio.game, ratio.goal_score) for ratio in measured.ratios if not ratio.bound]
    games = list(dict.fromkeys(game for game, _ in two_sided))
    known = [goal for goal in goals if (goal.game, goal.goal_score) in two_sided]
    left_out = [f"Left out: {'; '.join(measured.left_out)}.", ""] if measured.left_out else []
    if len(games) < FEWEST_GAMES:
        text = (
            f"None is shipped: {FEWEST_GAMES} games need a goal whose critical batch and noise scale both have "
            f"two-sided intervals; so far {', '.join(games) or 'none'} has one."
        )
        return [text, "", *left_out]
    whole = _fit(measured)
    bounds = f", and to {'; '.join(measured.bounds)}" if measured.bounds else ""
    lines = [
        f"Fitted to {formatting.plural(len(known), 'goal')} of {len(games)} games with two-sided intervals{bounds}. "
        f"Noise scale / critical batch is {math.exp(-whole.log_ratio):.2g}. For a run of a new game the 95 % interval "
        f"is a factor of {_factor(whole)} each way; it includes the scatter between runs to one goal, a factor of "
        f"{math.exp(measured.runs.sd):.2g} (one standard deviation). Each game predicted from the others, with the "
        "noise scale's own interval:",
        "",
        "| left out | goal | noise / critical, others | 95 % factor | predicted (95 %) | critical batch (95 %) | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    hits, runs = 0, []
    for game in games:
        calibration = _fit(measured_by([goal for goal in goals if goal.game != game]))
        for goal in known:
            if goal.game == game:
                row, hit = _row(calibration, goal)
                lines.append(row)
                hits += hit
                runs += _run_hits(calibration, goal)
    bare = math.exp(max(abs(ratio.log_ratio) for ratio in measured.ratios if not ratio.bound))
    check = (
        f"Inside: {hits} of {len(known)} goals. From the noise scale of each best run alone, as a user has it: "
        f"{sum(runs)} of {len(runs)} runs. A weak check: these intervals are wider than the largest error of the raw "
        f"noise scale, a factor of {bare:.2g}."
    )
    return [*lines, "", check, "", *left_out]


def _fit(measured: Measured) -> Calibration:
    return make_calibration(measured, name="ppo4", algorithm="ppo", epochs=EPOCHS)[0]


def _factor(calibration: Calibration) -> str:
    return f"{calibration.predict(1.0, 1.0, 1.0).high / calibration.predict(1.0, 1.0, 1.0).value:.2g}"


def _run_hits(calibration: Calibration, goal: GoalFit) -> list[bool]:
    """For each best run that resolves its noise scale, whether the critical batch lies inside what it predicts."""
    found = [
        calibration.predict(point.noise_scale, point.noise_scale_low, point.noise_scale_high)
        for point in goal.points
        if point.noise_scale and point.noise_scale_low and point.noise_scale_high is not None
    ]
    return [one.low <= goal.fit.critical_batch <= one.high for one in found]


def _row(calibration: Calibration, goal: GoalFit) -> tuple[str, bool]:
    """A line of the table, and whether the critical batch lies inside the prediction."""
    fit = goal.fit
    found = calibration.predict(goal.noise_scale, goal.noise_scale_low, goal.noise_scale_high)
    hit = found.low <= fit.critical_batch <= found.high
    cells = [
        goal.game,
        f"{goal.goal_score:g}",
        f"{math.exp(-calibration.log_ratio):.2g}",
        _factor(calibration),
        formatting.interval(found.value, found.low, found.high),
        formatting.interval(fit.critical_batch, fit.critical_batch_low, fit.critical_batch_high),
        "inside" if hit else "outside",
    ]
    return f"| {' | '.join(cells)} |", hit
