"""What predicts the critical batch, measured along the best runs of a finished sweep, which are trained again.

A best run is the trial of its batch size and seed that took the fewest steps to a goal. Training it again must give the
rows of its file, seconds aside. Each run's results are a file in contest/, so that a contest that was killed goes on
with the runs that have none; contest.csv has all of them, a line per goal, batch size, seed and candidate.
docs/notes/contest.md is the plan.
"""

from __future__ import annotations

import csv
import io
import json
import math
import multiprocessing
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from examples.tasks.hessian_along import HessianProducts, checkpoints
from examples.tasks.preconditioned import PreconditionedMoments
from examples.tasks.settings import TaskSettings
from examples.tasks.sweep import (
    check_settings,
    exit_if_orphaned,
    leave_interrupts,
    problem_of,
    saved_trials,
)
from examples.tasks.trial import Row, Rows, StepToCome, goals_reached, train
from rlgns.critical.goals import GoalReached
from rlgns.errors import FaultError, UserError
from rlgns.storage.files import reason, write_atomically
from rlgns.storage.sweep_folder import SweepFolder
from rlgns.sweep.plan import Trial, TrialProgress

PATH, PRECONDITIONED, HESSIAN = "path", "preconditioned", "hessian"
COLUMNS = (
    "game",
    "goal_score",
    "batch_observations",
    "seed",
    "run",
    "optimizer_steps",
    "candidate",
    "noise_scale",
    "noise_scale_low",
    "noise_scale_high",
    "measurements",
)
"""Of contest.csv. Noise scales and batches in observations; `measurements` are rows, or checkpoints of the Hessian."""
MOMENTS_AGREE = 1e-4
"""Largest relative difference of a row's moments: their sums may be taken in another order."""

Job = tuple[TaskSettings, str, Trial, tuple[GoalReached, ...]]


def run_contest(settings: TaskSettings, path: Path, workers: int) -> Path:
    """Measures every candidate along the best runs that have no file yet and returns the path of contest.csv.

    Args:
        settings: of the task, the sweep's own.
        path: the sweep's folder; its trials have all ended.
        workers: runs that are trained at once, each on one thread.

    Raises:
        UserError: There is no such sweep, or it has not ended.
        FaultError: A run trained again gives other rows, or the disk fails.
    """
    folder = SweepFolder(path)
    if not folder.points_path.exists():
        raise UserError(f"--contest {path}: no points.csv there; run the sweep first: --sweep {path}")
    with folder.claimed():
        check_settings(folder, settings)
        jobs = list(_jobs(settings, folder))
        _results_path(folder).mkdir(exist_ok=True)
        if workers == 1:
            for job in jobs:
                measure_run(job)
        else:
            with multiprocessing.get_context("spawn").Pool(min(workers, len(jobs)), leave_interrupts) as pool:
                for _ in pool.imap_unordered(measure_run, jobs):
                    pass
        return _write_table(folder, jobs)


def measure_run(job: Job) -> None:
    """Trains one best run again and writes its candidates for its goals, unless that was done."""
    settings, path, trial, goals = job
    folder = SweepFolder(path)
    file = _results_path(folder) / f"{trial.name}.json"
    if file.exists() and [entry["goal_score"] for entry in json.loads(file.read_text())][::3] == [
        g.goal for g in goals
    ]:
        return
    torch.set_num_threads(1)
    began, problem = time.perf_counter(), problem_of(settings)
    saved = next(rows for other, rows in saved_trials(folder, settings, trial.cell) if other == trial)
    adam = settings.optimizer == "adam"
    preconditioned = PreconditionedMoments(problem)
    products = HessianProducts(
        problem,
        {step for goal in goals for step in checkpoints(goal.optimizer_steps)},
        seed=zlib.crc32(trial.name.encode()),
    )

    def watch(coming: StepToCome) -> None:
        if adam:
            preconditioned.look(coming)
        products.look(coming)

    def over(own: TrialProgress) -> bool:
        exit_if_orphaned()
        return all(goal.goal in own.reached for goal in goals) or own.observations >= settings.budget

    rows = train(
        problem,
        settings,
        batch=trial.cell.batch,
        learning_rate=trial.learning_rate,
        seed=trial.cell.seed,
        over=over,
        watch=watch,
    )
    check_same(trial.name, saved, rows)
    averages = {PATH: goals_reached(rows, settings, trial.cell.batch)}
    averages[PRECONDITIONED] = (
        goals_reached(preconditioned.in_rows(rows), settings, trial.cell.batch) if adam else averages[PATH]
    )
    results = []
    for goal in goals:
        measured = sum(row["grad_sq"] is not None and row["step"] <= goal.optimizer_steps for row in rows)
        for name, found in averages.items():
            (one,) = (entry for entry in found if entry.goal == goal.goal)
            results.append(
                _line(trial, goal, name, one.noise_scale, one.noise_scale_low, one.noise_scale_high, measured)
            )
        along = products.average(goal.optimizer_steps, trial.cell.batch)
        results.append(_line(trial, goal, HESSIAN, along.value, along.low, along.high, along.checkpoints))
    try:
        write_atomically(file, json.dumps(results).encode())
    except OSError as error:
        raise FaultError(f"cannot write {file}: {reason(error)}") from error
    print(f"{trial.name}: measured in {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)


def check_same(name: str, saved: Rows, again: Rows) -> None:
    """Raises FaultError where a run trained again has other rows than those saved, seconds aside."""
    if len(again) > len(saved):
        raise FaultError(f"{name} trained again has {len(again)} rows up to its goals, and its file has {len(saved)}")
    for before, now in zip(saved, again, strict=False):
        same = all(before[key] == now[key] for key in ("step", "loss", "smoothed"))
        for key in ("grad_sq", "trace"):
            same = same and _agree(before[key], now[key])
        if not same:
            raise FaultError(
                f"{name} trained again differs at step {now['step']}: loss {now['loss']}, saved {before['loss']}; "
                "were data, torch or the processor others?"
            )


def _agree(before: float | None, now: float | None) -> bool:
    if before is None or now is None:
        return before is now
    return math.isclose(before, now, rel_tol=MOMENTS_AGREE, abs_tol=1e-12)


def _jobs(settings: TaskSettings, folder: SweepFolder) -> Iterator[Job]:
    """Yields the best runs of every cell, each with the goals that it won, from easy to hard."""
    for cell in settings.plan.cells:
        reached: dict[float, tuple[Trial, GoalReached]] = {}
        for trial, rows in saved_trials(folder, settings, cell):
            for goal in goals_reached(rows, settings, cell.batch):
                best = reached.get(goal.goal)
                if best is None or goal.optimizer_steps < best[1].optimizer_steps:
                    reached[goal.goal] = trial, goal
        for trial in sorted({winner for winner, _ in reached.values()}):
            goals = sorted((goal for winner, goal in reached.values() if winner == trial), key=lambda goal: goal.goal)
            yield settings, str(folder.path), trial, tuple(goals)


def _line(
    trial: Trial, goal: GoalReached, name: str, value: Any, low: Any, high: Any, measurements: int
) -> dict[str, Any]:
    """A line of contest.csv; None where not known, `inf` as text where only the lower bound is."""
    numbers = {"noise_scale": value, "noise_scale_low": low, "noise_scale_high": high}
    return {
        "game": trial.cell.game,
        "goal_score": goal.goal,
        "batch_observations": trial.cell.batch,
        "seed": trial.cell.seed,
        "run": trial.name,
        "optimizer_steps": float(f"{goal.optimizer_steps:.6g}"),
        "candidate": name,
        **{
            key: None if number is None or not math.isfinite(number) else float(f"{number:.6g}")
            for key, number in numbers.items()
        },
        "measurements": measurements,
    }


def _write_table(folder: SweepFolder, jobs: Sequence[Job]) -> Path:
    """Writes contest.csv from the files of these runs, goals from easy to hard, batch sizes ascending."""
    lines: list[dict[str, Any]] = []
    for _, _, trial, _ in jobs:
        lines += json.loads((_results_path(folder) / f"{trial.name}.json").read_text())
    lines.sort(key=lambda line: (line["goal_score"], line["batch_observations"], line["seed"]))
    target = folder.path / "contest.csv"
    try:
        write_atomically(target, _csv_text(lines).encode())
    except OSError as error:
        raise FaultError(f"cannot write {target}: {reason(error)}") from error
    return target


def _csv_text(lines: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _results_path(folder: SweepFolder) -> Path:
    return folder.path / "contest"
