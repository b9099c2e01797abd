"""Section "PPO's calibration" of docs/results/agreement.md: what the games' sweeps say, each game left out in turn."""

from __future__ import annotations

import dataclasses
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
    """Returns the fit to all goals of games with both intervals, and each game's goals in the others' interval."""
    measured = measured_by([goal for task in tasks if task.name not in TASKS for goal in task.goals])
    games = list(dict.fromkeys(ratio.game for ratio in measured.ratios))
    lines = [f"Left out, because one interval is not two-sided: {'; '.join(measured.left_out)}.", ""]
    if len(games) < FEWEST_GAMES:
        there = f"so far {', '.join(games) or 'none'} has one"
        text = (
            f"None is shipped: {FEWEST_GAMES} games need a goal whose critical batch and noise scale both have "
            f"two-sided intervals; {there}."
        )
        return [text, "", *(lines if measured.left_out else [])]
    whole = _fit(measured)
    goals = {(goal.game, goal.goal_score): goal for task in tasks if task.name not in TASKS for goal in task.goals}
    table = [
        f"The {len(measured.ratios)} of {len(goals)} goals with both intervals, {len(games)} games: noise scale / "
        f"critical batch {math.exp(-whole.log_ratio):.2g}; of a new game, 95 % within a factor of {_factor(whole)}. "
        "Each game left out and predicted from the others, with the noise scale's own interval:",
        "",
        "| left out | goal | noise / critical, others | 95 % factor | predicted (95 %) | critical batch (95 %) | |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    inside = 0
    for game in games:
        others = tuple(ratio for ratio in measured.ratios if ratio.game != game)
        calibration = _fit(dataclasses.replace(measured, ratios=others))
        for ratio in measured.ratios:
            if ratio.game == game:
                row, hit = _row(calibration, goals[game, ratio.goal_score])
                inside += hit
                table.append(row)
    bare = math.exp(max(abs(ratio.log_ratio) for ratio in measured.ratios))
    weak = (
        f"Inside: {inside} of {len(measured.ratios)}. With factors as wide that is a weak check: the bare noise scale "
        f"is off by {bare:.2g} times at most."
    )
    return [*table, "", weak, "", *(lines if measured.left_out else [])]


def _fit(measured: Measured) -> Calibration:
    return make_calibration(measured, name="ppo4", algorithm="ppo", epochs=EPOCHS)


def _factor(calibration: Calibration) -> str:
    return f"{calibration.predict(1.0, 1.0, 1.0).high / calibration.predict(1.0, 1.0, 1.0).value:.2g}"


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
