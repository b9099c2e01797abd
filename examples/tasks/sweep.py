"""The sweep of a task: its trials in parallel, one process per cell, and the folder that they fill.

A cell is a batch size and a seed. Its trials, one per learning rate, run one after another in one process, the centre
first, so that each stops as soon as earlier ones have won every goal that it still lacks. Cells run in parallel. Which
trials there are and when each stops follows from the settings and the trials on disk (`rlgns/sweep/plan.py`, as for
games): a sweep that was killed trains the trials that have no file, and no other.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from examples.tasks.problem import Problem, make_problem
from examples.tasks.settings import TaskSettings, groups_of
from examples.tasks.trial import Row, goals_reached, progress, train
from rlgns.config.files import read_yaml
from rlgns.errors import FaultError, UserError
from rlgns.machine.commit import source_commit
from rlgns.storage.files import plain, reason, write_atomically
from rlgns.storage.sweep_folder import SweepFolder
from rlgns.sweep.plan import Cell, Trial, TrialProgress, Verdict
from rlgns.sweep.records import point_rows

MAY_GROW = ("batches", "seeds", "learning_rates", "widenings")
"""Settings that may differ when a sweep continues: trials that exist stay as they are."""
SUFFIX = ".jsonl.gz"
"""Of a trial's file in runs/: one row per measured loss, compressed, some 10 kB."""


def run_sweep(settings: TaskSettings, path: Path, workers: int) -> Path:
    """Trains every trial that has no file yet and returns the path of points.csv.

    Args:
        settings: the task and its grid.
        path: the sweep's folder, new or of the same sweep.
        workers: cells that run at once, each on one thread.

    Raises:
        UserError: Bad settings or data, or the folder holds another sweep.
        FaultError: The disk fails.
    """
    problem = make_problem(settings)  # here too, so that a mistake is one line
    for batch in settings.batches:
        groups_of(batch, problem.per_draw)
    folder = SweepFolder(path)
    with folder.claimed():
        check_settings(folder, settings)
        folder.write({"task": plain(dataclasses.asdict(settings)), "about": {"commit": source_commit()}})
        write_points(folder, settings)
        jobs = [(settings, str(path), cell) for cell in settings.plan.cells]
        if workers == 1:
            for job in jobs:
                run_cell(job)
                write_points(folder, settings)
            return folder.points_path
        # Spawned, not forked: a fork would inherit the folder's lock and keep it after this process was killed.
        with multiprocessing.get_context("spawn").Pool(min(workers, len(jobs)), leave_interrupts) as pool:
            for _ in pool.imap_unordered(run_cell, jobs):
                write_points(folder, settings)
    return folder.points_path


def run_cell(job: tuple[TaskSettings, str, Cell]) -> None:
    """Trains the trials of one cell that have no file yet, one after another."""
    settings, path, cell = job
    torch.set_num_threads(1)
    folder, plan = SweepFolder(path), settings.plan
    known = {trial: progress(rows, settings, cell.batch) for trial, rows in saved_trials(folder, settings, cell)}
    while True:
        open_trials = [t for t in plan.trials_of(cell, known) if plan.verdict(t, known) is Verdict.UNFINISHED]
        if not open_trials:
            return
        trial = open_trials[0]
        if trial in known:
            raise UserError(f"{trial_file(folder, trial)} ends early; remove it to train that trial again")
        known[trial] = _run_trial(settings, folder, trial, known)


def _run_trial(
    settings: TaskSettings, folder: SweepFolder, trial: Trial, known: dict[Trial, TrialProgress]
) -> TrialProgress:
    """Trains one trial, writes its file, prints a line and returns where it ended."""
    plan, began = settings.plan, time.perf_counter()

    def over(own: TrialProgress) -> bool:
        exit_if_orphaned()
        return plan.verdict(trial, known | {trial: own}) is not Verdict.UNFINISHED

    rows = train(
        problem_of(settings),
        settings,
        batch=trial.cell.batch,
        learning_rate=trial.learning_rate,
        seed=trial.cell.seed,
        over=over,
    )
    text = "".join(json.dumps(plain(row)) + "\n" for row in rows)
    file = trial_file(folder, trial)
    try:
        write_atomically(file, gzip.compress(text.encode(), mtime=0))
    except OSError as error:
        raise FaultError(f"cannot write {file}: {reason(error)}") from error
    own = progress(rows, settings, trial.cell.batch)
    how = "diverged" if rows[-1]["smoothed"] is None else plan.verdict(trial, known | {trial: own}).value
    line = f"{trial.name}: {how} after {rows[-1]['step']:,d} steps, {time.perf_counter() - began:.1f} s"
    print(line, file=sys.stderr, flush=True)
    return own


def trial_file(folder: SweepFolder, trial: Trial) -> Path:
    """Returns the path of a trial's rows."""
    return folder.runs_path / f"{trial.name}{SUFFIX}"


def read_rows(file: Path) -> list[Row]:
    """Returns the rows of a trial's file."""
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).decode().splitlines()]


def saved_trials(folder: SweepFolder, settings: TaskSettings, cell: Cell) -> Iterator[tuple[Trial, list[Row]]]:
    """Yields the trials of a cell that have ended, with their rows."""
    rule = settings.plan.learning_rate_rule
    widest = rule.initial_steps
    for step in range(widest[0] - rule.widenings, widest[-1] + rule.widenings + 1):
        trial = Trial(cell, rule.learning_rate(cell.batch, step))
        if trial_file(folder, trial).exists():
            yield trial, read_rows(trial_file(folder, trial))


def write_points(folder: SweepFolder, settings: TaskSettings) -> None:
    """Writes points.csv from the trials on disk: a line per goal that a trial reached or missed."""
    reached, ended = {}, {}
    for cell in settings.plan.cells:
        for trial, rows in saved_trials(folder, settings, cell):
            reached[trial] = goals_reached(rows, settings, cell.batch)
            ended[trial] = progress(rows, settings, cell.batch)
    folder.write_points(point_rows(reached, settings.plan, ended))


@lru_cache(maxsize=1)
def problem_of(settings: TaskSettings) -> Problem:
    """The problem of a task; a process reads its data once."""
    return make_problem(settings)


def check_settings(folder: SweepFolder, settings: TaskSettings) -> None:
    """Raises UserError where the folder holds a sweep of another task or with other settings."""
    if not folder.sweep_path.exists():
        return
    there: Any = read_yaml(folder.sweep_path).get("task")
    if not isinstance(there, dict):
        raise UserError(f"{folder.path} holds a sweep of games; name another folder with --sweep")
    for key, value in plain(dataclasses.asdict(settings)).items():
        if key not in (*MAY_GROW, "data") and there.get(key) != value:
            raise UserError(
                f"{folder.path} holds a sweep with other settings: {key} is {there.get(key)} there and {value} here; "
                "name another folder with --sweep"
            )


def leave_interrupts() -> None:
    """Leaves Ctrl-C to the process of the sweep, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def exit_if_orphaned() -> None:
    """Ends this process where the sweep that started it was killed, so that it does not train beside the next one."""
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)
