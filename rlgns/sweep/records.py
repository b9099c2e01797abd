"""What a sweep writes into its folder, reads back from it, and compares before it resumes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlgns.config.load import from_dict, to_dict
from rlgns.critical.goals import GoalReached
from rlgns.errors import UserError
from rlgns.storage.files import plain
from rlgns.storage.run_folder import RunFolder
from rlgns.storage.sweep_folder import SweepFolder
from rlgns.sweep import load
from rlgns.sweep.config import Sweep
from rlgns.sweep.plan import Cell, SweepPlan, Trial, TrialProgress

MAY_GROW = ("sweep.batches", "sweep.seeds", "sweep.goals", "sweep.learning_rates", "sweep.widenings", "run.games")
"""Settings that may differ when a sweep resumes: trials that exist stay as they are."""

MAY_CHANGE = ("sweep.parallel", "sweep.price", "run.name", "run.seed", "agent.learning_rate")
"""Settings that may differ because they change no trial, or are set for each trial."""


def check_settings(folder: SweepFolder, sweep: Sweep) -> None:
    """Raises UserError where the folder holds something other than this sweep."""
    folder.check()
    if not folder.sweep_path.exists():
        return
    there, here = _flat(load.resolve_sweep(folder.sweep_path, {})), _flat(sweep)
    for key, value in here.items():
        if key in MAY_GROW or key in MAY_CHANGE or key.startswith(("output.", "wandb.")) or there.get(key) == value:
            continue
        if key == "run.observations" and value > there[key] and not sweep.base.agent.anneal:
            continue  # a larger budget: trials that used theirs up continue as if they had had it from the start
        raise UserError(
            f"{folder.path} holds a sweep with other settings: {key} is {there.get(key)} there and {value} here; "
            "name another folder with --out"
        )


def saved_trials(folder: SweepFolder) -> dict[Trial, RunFolder]:
    """Returns the runs that exist, also of trials that the present settings would not have."""
    found = {}
    for run in folder.runs():
        config = from_dict(run.config())
        cell = Cell(config.run.seed, config.run.games[0], config.batch_observations)
        found[Trial(cell, config.agent.learning_rate)] = run
    return found


def sweep_file(sweep: Sweep, about: Mapping[str, Any], trials: Sequence[Trial]) -> dict[str, Any]:
    """Returns the content of sweep.yaml: settings, configuration, versions, names of the trials so far."""
    return {
        "sweep": load.to_dict(sweep.settings),
        "config": to_dict(sweep.base),
        "about": plain(about),
        "trials": [trial.name for trial in trials],
    }


def point_rows(
    reached: Mapping[Trial, Sequence[GoalReached]], plan: SweepPlan, progress: Mapping[Trial, TrialProgress]
) -> Iterator[dict[str, Any]]:
    """Yields the rows of points.csv: one for each goal that a trial reached, and those that no trial of a cell reached.

    A missed goal has no steps, observations, seconds or noise scale.
    """
    for trial in sorted(reached):
        about = {
            "game": trial.cell.game,
            "batch_observations": trial.cell.batch,
            "learning_rate": trial.learning_rate,
            "seed": trial.cell.seed,
            "run": trial.name,
        }
        for goal in reached[trial]:
            yield about | {
                "goal_score": f"{goal.goal:g}",
                "optimizer_steps": _number(goal.optimizer_steps),
                "observations": _number(goal.observations),
                "seconds": _number(goal.seconds),
                "noise_scale": _number(goal.noise_scale),
                "noise_scale_low": _number(goal.noise_scale_low),
                "noise_scale_high": _number(goal.noise_scale_high),
            }
        for missed in plan.missed(trial, progress):
            yield about | {"goal_score": f"{missed:g}"}


def _flat(sweep: Sweep) -> dict[str, Any]:
    """Returns the settings by dotted key, without what follows from the batch size."""
    flat = {f"sweep.{key}": value for key, value in load.to_dict(sweep.settings).items()}
    flat |= {f"{section}.{key}": value for section, keys in to_dict(sweep.base).items() for key, value in keys.items()}
    del flat["env.num_envs" if sweep.settings.axis == "envs" else "agent.rollout_steps"]
    return flat


def _number(value: float | None) -> float | int | str:
    """Returns a cell of CSV: whole numbers without a point, `inf` where unbounded, empty where unknown."""
    if value is None or math.isnan(value):
        return ""
    if math.isinf(value):
        return value
    return int(value) if value == int(value) else float(f"{value:.6g}")
