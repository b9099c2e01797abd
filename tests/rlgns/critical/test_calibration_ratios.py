"""What sweeps' goals say of critical batch / noise scale: bounds, and the scatter between runs."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.evidence_data import PLANNED, load_tasks
from examples.tasks.settings import TASKS
from rlgns.critical.calibration_ratios import ratio_of, run_scatter
from rlgns.critical.pareto import fit_pareto
from rlgns.critical.points import GoalFit, fit_points
from rlgns.fit.calibration import read_measured

GAMES = set(PLANNED) - set(TASKS)
BREAKOUT = Path(__file__).parents[3] / "docs" / "results" / "breakout-sweep.csv"


def measured_goals() -> list[GoalFit]:
    """Every goal of the games swept."""
    return [goal for task in load_tasks() if task.name in GAMES for goal in task.goals]


def test_the_scatter_between_runs_is_what_their_intervals_leave() -> None:
    """Runs of 400 goals with unequal intervals: rho is found; a twin that counts runs as exact must miss it."""
    rng, goals, exact = np.random.default_rng(6), [], []
    template = measured_goals()[0]
    for _ in range(400):
        points, twins = [], []
        for batch in (64, 128, 256, 512, 1024):
            own = float(rng.uniform(0.1, 0.6))
            scale = 500 * math.exp(0.4 * rng.normal() + own * rng.normal())
            point = dataclasses.replace(template.points[0], batch_observations=batch, run=None, noise_scale=scale)
            high = None if batch == 1024 else scale * math.exp(1.96 * own)  # not resolved: left out
            low = scale * math.exp(-1.96 * own)
            points.append(dataclasses.replace(point, noise_scale_low=low, noise_scale_high=high))
            twins.append(dataclasses.replace(point, noise_scale_low=scale, noise_scale_high=high and scale))
        goals.append(dataclasses.replace(template, points=tuple(points)))
        exact.append(dataclasses.replace(template, points=tuple(twins)))
    assert run_scatter(goals).sd == pytest.approx(0.4, abs=0.03)
    assert run_scatter(exact).sd > 0.5
    assert run_scatter([]).sd == 0


def test_a_run_to_several_goals_counts_once_in_the_degrees_of_freedom() -> None:
    goals = measured_goals()
    found = run_scatter(goals)
    alone = [
        dataclasses.replace(g, points=tuple(dataclasses.replace(p, run=f"{p.run} {i}") for p in g.points))
        for i, g in enumerate(goals)
    ]
    assert run_scatter(alone).sd == found.sd and run_scatter(alone).freedom > found.freedom > 5


def test_an_open_interval_becomes_a_bound_of_the_same_shape() -> None:
    """Without batches of 4,096 Qbert's 500 has only "at least 380". The likelihood has about the profile's ends."""
    whole = next(goal for goal in measured_goals() if goal.game == "qbert" and goal.goal_score == 500)
    (goal,) = fit_points([point for point in whole.points if point.batch_observations < 4096])
    ratio, full = ratio_of(goal), ratio_of(whole)
    assert ratio is not None and full is not None and (ratio.bound, full.bound) == (1, 0)
    assert math.isinf(goal.fit.critical_batch_high) and goal.fit.critical_batch_low < full.critical_batch
    noise_sd = math.log(goal.noise_scale_high / goal.noise_scale_low) / (2 * 1.96)
    sd = math.sqrt(ratio.variance - noise_sd**2)
    batches, steps = ([getattr(p, name) for p in goal.points] for name in ("batch_observations", "optimizer_steps"))
    for level, quantile in ((0.95, 1.96), (0.8, 1.2816), (0.5, 0.6745)):
        low = fit_pareto(batches, steps, level=level).critical_batch_low
        assert math.log(ratio.critical_batch / low) == pytest.approx(quantile * sd, rel=0.15), level


def test_a_noise_scale_with_a_lower_bound_alone_is_a_bound() -> None:
    """Breakout's older sweep: at 2 and 5 the noise scale is at least 400 and 920."""
    measured = read_measured([BREAKOUT])
    marks = {ratio.goal_score: ratio.bound for ratio in measured.ratios}
    assert marks == {2.0: -1, 3.0: 0, 5.0: -1} and not measured.left_out
    assert measured.bounds[0] == "breakout 2: noise scale at least 400"
