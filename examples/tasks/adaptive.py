r"""An adaptive batch against the best fixed batch, for a task whose sweep has ended.

The cheapest batch at every moment is B = sqrt(r N), N the noise scale and r the observations that one step is worth
(McCandlish et al. 2018, arXiv:1812.06162, appendix D); here r is the swept critical batch of the hardest goal. N is the
live noise scale times the ratio of critical batch to path average at that goal, and `rlgns.critical.adaptive` decides,
with a step in place of an iteration and a batch of the grid in place of a number of environments. The learning rate is
that of the fixed batch throughout ("constant rate"), or at every batch the geometric mean of the sweep's best ("swept
rates").

A run's cost is S / S_min + E / E_min, least at B = r among fixed batches, where it is 4. Adaptive and fixed runs of new
seeds are paired; the model predicts a ratio of (1 + sqrt(gamma)) / 2, gamma from the fixed runs' noise scales.
docs/notes/contest.md, "Adaptive batch", is the plan.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from examples.tasks.problem import make_problem
from examples.tasks.settings import GROUPS, TaskSettings, groups_of
from examples.tasks.sweep import check_settings, exit_if_orphaned, leave_interrupts, problem_of
from examples.tasks.trial import goals_reached, train
from rlgns.critical.adaptive import next_envs, target_batch
from rlgns.critical.points import GoalFit, best_points, fit_points
from rlgns.errors import FaultError, UserError
from rlgns.fit.points_file import read_points
from rlgns.noise import NoiseScaleEstimate
from rlgns.storage.files import reason, write_atomically
from rlgns.storage.sweep_folder import SweepFolder
from rlgns.sweep.plan import TrialProgress

SEEDS = tuple(range(100, 116))
"""Of the pairs; no sweep has them."""
FIXED, SWEPT, CONSTANT = "fixed", "adaptive, swept rates", "adaptive, constant rate"
COLUMNS = (
    "game",
    "goal_score",
    "batch_mode",
    "seed",
    "optimizer_steps",
    "observations",
    "cost",
    "largest_batch",
    "gamma",
)
"""Of adaptive.csv. Steps, observations and cost are empty where the goal was not reached in the budget."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What the sweep says about its hardest goal. Batches in observations."""

    goal: GoalFit
    tiers: tuple[int, ...]
    """Batches that are split into GROUPS groups, each twice the one before."""
    rates: Mapping[int, float]
    """Learning rates by batch."""
    fixed: int
    """Batch next to the critical batch."""
    first: int
    """Batch next to the critical batch of the easiest identified goal; the adaptive runs begin with it."""


def setup_of(fits: Sequence[GoalFit], per_draw: int) -> Setup:
    """Returns the setup from a sweep's fits. Raises UserError where the hardest goal reached does not allow one."""
    reached = [goal for goal in fits if any(point.reached for point in goal.points)]
    goals = sorted(reached, key=lambda goal: goal.goal_score)
    hardest = goals[-1]
    if not (hardest.fit.identified and hardest.noise_scale > 0):
        raise UserError(f"--adaptive needs critical batch and noise scale at the hardest goal; there it is {hardest}")
    logs: dict[int, list[float]] = {}
    for point in best_points(hardest.points):
        if point.learning_rate is not None and point.reached:
            logs.setdefault(int(point.batch_observations), []).append(math.log(point.learning_rate))
    rates = {
        batch: math.exp(sum(some) / len(some))
        for batch, some in sorted(logs.items())
        if groups_of(batch, per_draw) == GROUPS
    }
    easiest = next(goal for goal in goals if goal.fit.identified)

    def nearest(critical: float) -> int:
        return min(rates, key=lambda batch: abs(math.log(batch / critical)))

    return Setup(
        goal=hardest,
        tiers=tuple(rates),
        rates=rates,
        fixed=nearest(hardest.fit.critical_batch),
        first=nearest(easiest.fit.critical_batch),
    )


@final
class Follow:
    """Steers a run: its batch follows the noise scale, or stays where there is one tier alone."""

    def __init__(self, setup: Setup, first: int, tiers: Sequence[int]) -> None:
        """`first`: batch of the first step, one of `tiers`."""
        self._setup, self._tiers, self._changed = setup, tiers, 0
        self.batch = self.largest = first

    def __call__(self, step: int, estimate: NoiseScaleEstimate) -> tuple[int, float]:
        """Returns batch and learning rate of a step to come."""
        goal = self._setup.goal
        share = 1 / goal.noise_over_critical
        target = target_batch(
            share * estimate.now_low,
            share * estimate.noise_scale,
            share * estimate.now_high,
            exchange_rate=goal.fit.critical_batch,
        )
        before, held = self.batch, step - self._changed
        self.batch = next_envs(
            target, num_envs=before, batch_observations=before, tiers=self._tiers, held_iterations=held
        )
        if self.batch != before:
            self._changed = step
        self.largest = max(self.largest, self.batch)
        return self.batch, self._setup.rates[self.batch]


Job = tuple[TaskSettings, Setup, str, int]


def run_adaptive(settings: TaskSettings, path: Path, workers: int) -> Path:
    """Trains the pairs and returns the path of adaptive.csv in the sweep's folder.

    Args:
        settings: of the task, the sweep's own.
        path: the sweep's folder.
        workers: runs that are trained at once, each on one thread.

    Raises:
        UserError: There is no such sweep, or its hardest goal is not identified.
        FaultError: The disk fails.
    """
    folder = SweepFolder(path)
    if not folder.points_path.exists():
        raise UserError(f"--adaptive {path}: no points.csv there; run the sweep first: --sweep {path}")
    with folder.claimed():
        check_settings(folder, settings)
        setup = setup_of(fit_points(read_points(folder.points_path)), make_problem(settings).per_draw)
        jobs = [(settings, setup, mode, seed) for seed in SEEDS for mode in (FIXED, SWEPT, CONSTANT)]
        with multiprocessing.get_context("spawn").Pool(min(workers, len(jobs)), leave_interrupts) as pool:
            lines = list(pool.imap(run_one, jobs))
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        target = path / "adaptive.csv"
        try:
            write_atomically(target, text.getvalue().encode())
        except OSError as error:
            raise FaultError(f"cannot write {target}: {reason(error)}") from error
    return target


def run_one(job: Job) -> dict[str, Any]:
    """Trains one run up to the hardest goal and returns its line."""
    settings, setup, mode, seed = job
    torch.set_num_threads(1)
    score = setup.goal.goal_score
    first = setup.fixed if mode == FIXED else setup.first
    if mode == CONSTANT:
        setup = dataclasses.replace(setup, rates=dict.fromkeys(setup.rates, setup.rates[setup.fixed]))
    follow = Follow(setup, first, (first,) if mode == FIXED else setup.tiers)

    def over(own: TrialProgress) -> bool:
        exit_if_orphaned()
        return score in own.reached or own.observations >= settings.budget

    rows = train(
        problem_of(settings),
        settings,
        batch=first,
        learning_rate=setup.rates[first],
        seed=seed,
        over=over,
        steer=follow,
    )
    line: dict[str, Any] = {
        "game": settings.name,
        "goal_score": score,
        "batch_mode": mode,
        "seed": seed,
        "largest_batch": follow.largest,
    }
    reached = [goal for goal in goals_reached(rows, settings, first) if goal.goal == score]
    for goal in reached:
        cost = goal.optimizer_steps / setup.goal.fit.min_steps + goal.observations / setup.goal.min_observations
        numbers = {"optimizer_steps": goal.optimizer_steps, "observations": goal.observations, "cost": cost}
        numbers["gamma"] = math.nan if goal.adaptive_gamma is None else goal.adaptive_gamma
        line |= {key: f"{number:.6g}" for key, number in numbers.items()}
    how = f"cost {line['cost']} after {line['optimizer_steps']} steps" if reached else "goal not reached"
    print(f"{settings.name} {mode} s{seed}: {how}, batch up to {follow.largest:,d}", file=sys.stderr, flush=True)
    return line
