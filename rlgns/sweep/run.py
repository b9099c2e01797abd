"""Runs a sweep from its settings to its report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rlgns.engine.prometheus import PrometheusGauges
from rlgns.engine.trials import Outcome, run_trials
from rlgns.errors import ExitCode, FaultError, UserError, one_line
from rlgns.machine.run_facts import run_facts
from rlgns.monitor.listener import CompositeListener, RunStart
from rlgns.monitor.tensorboard_logger import TensorBoardLogger
from rlgns.monitor.wandb_logger import WandbLogger
from rlgns.report import write_report
from rlgns.storage.sweep_folder import SweepFolder
from rlgns.sweep.config import Sweep
from rlgns.sweep.display import SweepStatus, make_display
from rlgns.sweep.forecast import (
    concurrent_trials,
    format_plan,
    measure_throughput,
    throughput_of_runs,
)
from rlgns.sweep.game_length import measure_game_length
from rlgns.sweep.plan import Trial, Verdict, make_plan
from rlgns.sweep.queue import SweepQueue
from rlgns.sweep.records import check_settings, sweep_file
from rlgns.sweep.table import results_table
from rlgns.training import check_runnable


def run_sweep(sweep: Sweep, out: Path) -> int:
    """Trains every trial of a sweep that is not done yet.

    Args:
        sweep: The resolved sweep.
        out: The sweep's folder; a sweep with the same settings in it is resumed.

    Returns:
        The exit code: 0 done, 3 where trials failed, 130, 143 or 129 stopped after saving.

    Raises:
        UserError: The settings cannot work on this machine, or the folder cannot be used; nothing was trained.
    """
    _check_runnable(sweep)
    folder = SweepFolder(out)
    check_settings(folder, sweep)
    with folder.claimed():
        queue = SweepQueue(sweep, folder, about_of=run_facts)
        about = folder.about() or _about(sweep)
        folder.write(sweep_file(sweep, about, queue.trials()))
        outcome = _train(sweep, queue)
        folder.write(sweep_file(sweep, about, queue.trials()))
        notes = _write_results(queue, folder)
    print(results_table(queue.plan, queue.progress, queue.reached, folder))  # noqa: T201  (results go to standard output)
    return _conclude(outcome, out, notes)


def dry_run(sweep: Sweep, out: Path | None) -> str:
    """Returns the plan with estimated hours as text; writes nothing.

    The estimate uses the throughput of the trials in `out` where there are any, else that of a few seconds of training.
    Raises UserError as `run_sweep` does.
    """
    _check_runnable(sweep)
    lengths = {game: measure_game_length(sweep, game) for game in sweep.base.run.games}
    if out is None or not out.exists():
        return format_plan(sweep, make_plan(sweep), {}, measure_throughput(sweep), lengths)
    folder = SweepFolder(out)
    check_settings(folder, sweep)
    queue = SweepQueue(sweep, folder, about_of=run_facts)
    throughput = throughput_of_runs(folder.runs()) or measure_throughput(sweep)
    return format_plan(sweep, queue.plan, queue.progress, throughput, lengths)


def _check_runnable(sweep: Sweep) -> None:
    """Raises UserError where the largest batch does not fit on this machine, or any trial would fail on it."""
    most, _ = concurrent_trials(sweep)
    check_runnable(sweep.configs[max(sweep.configs)], most=most)


def _train(sweep: Sweep, queue: SweepQueue) -> Outcome:
    display = make_display(SweepStatus(queue, price=sweep.settings.price))
    wandb, tensorboard = WandbLogger(sweep.base.wandb, display.message), TensorBoardLogger(display.message)
    gauges = PrometheusGauges()

    def began(trial: Trial, start: RunStart) -> None:
        display.began(trial, start)
        tensorboard.start([start])
        gauges.start([start])
        wandb.start([start])

    def stopped(trial: Trial, verdict: Verdict) -> None:
        display.stopped(trial, verdict)
        tensorboard.finish(trial.name)
        wandb.finish(trial.name, "fault" if verdict is Verdict.FAILED else "done")

    queue.began, queue.stopped = began, stopped
    outcome = Outcome(faults={"": "ended by an error"})
    try:
        if any(queue.verdict(trial) is Verdict.UNFINISHED for trial in queue.trials()):
            most, max_failures = sweep.settings.parallel, sweep.base.engine.max_failures
            listener = CompositeListener([display, tensorboard, gauges, wandb])
            outcome = run_trials(queue, listener, most=most, max_failures=max_failures)
        else:
            outcome = Outcome()
    finally:
        ending = outcome.ending
        tensorboard.end(ending)
        wandb.end(ending)
        display.end(ending)
    return outcome


def _write_results(queue: SweepQueue, folder: SweepFolder) -> list[str]:
    """Writes points and report; returns a line for each that could not be written."""
    notes = []
    try:
        folder.write_points(queue.points())
    except FaultError as fault:
        notes.append(str(fault))
    try:
        write_report([folder.path], folder.report_path)
    except (FaultError, OSError, UserError) as error:  # the sweep is done all the same
        notes.append(f"no report: {error} (try again with: rlgns report {folder.path})")
    return notes


def _conclude(outcome: Outcome, out: Path, notes: list[str]) -> int:
    for name, fault in outcome.faults.items():
        notes.append(f"{name}: {fault}")
    if outcome.stopped is not None:
        notes.append(f"saved; resume with: rlgns sweep --resume {out}")
    elif outcome.faults:
        notes.append(f"retry the failed trials with: rlgns sweep --resume {out}")
    for note in notes:
        print(f"rlgns: {one_line(note)}", file=sys.stderr)  # noqa: T201  (the display has ended)
    if outcome.stopped is not None:
        return outcome.stopped
    return ExitCode.FAULT if outcome.faults else ExitCode.DONE


def _about(sweep: Sweep) -> dict[str, Any]:
    about = run_facts(sweep.base, sweep.base.run.games[0])
    return {key: about[key] for key in ("created", "protocol", "versions", "git", "hardware")}
