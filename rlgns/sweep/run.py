"""A sweep from its settings to its report: the parts in the order in which they meet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rlgns.engine.trials import Outcome, run_trials
from rlgns.errors import ExitCode, FaultError, UserError, one_line
from rlgns.monitor.listener import CompositeListener, RunStart
from rlgns.monitor.wandb_logger import WandbLogger
from rlgns.report import write_report
from rlgns.storage.sweep_folder import SweepFolder
from rlgns.sweep.config import Sweep
from rlgns.sweep.display import SweepStatus, make_display
from rlgns.sweep.forecast import calibrate, describe_plan, of_trials
from rlgns.sweep.plan import Trial, Verdict
from rlgns.sweep.records import check_settings, point_rows, sweep_file
from rlgns.sweep.session import Session, make_plan
from rlgns.sweep.table import summary
from rlgns.train import check_runnable, run_facts


def run_sweep(sweep: Sweep, out: Path) -> int:
    """Trains every trial of a sweep, or those that are left of it.

    Args:
        sweep: The resolved sweep.
        out: The sweep's folder; a sweep with the same settings that is there is gone on with.

    Returns:
        The exit code: 0 done, 3 where trials failed, 130 interrupted after saving.

    Raises:
        UserError: The settings cannot work on this machine, or the folder cannot be used; nothing was trained.
    """
    check_runnable(sweep.base)  # batch sizes differ in nothing that could fail on a machine
    folder = SweepFolder(out)
    check_settings(folder, sweep)
    with folder.claimed():
        session = Session(sweep, folder, about_of=run_facts)
        about = folder.about() or _about(sweep)
        folder.write(sweep_file(sweep, about, session.trials()))
        outcome = _train(sweep, session)
        folder.write(sweep_file(sweep, about, session.trials()))
        notes = _write_results(session, folder)
    print(summary(session.plan, session.progress, session.reached, folder))  # noqa: T201  (results go to standard output)
    return _conclude(outcome, out, notes)


def dry_run(sweep: Sweep, out: Path | None) -> str:
    """Returns the plan with estimated hours as text; writes nothing.

    The estimate is made from the throughput of the trials in `out` where there are any, else from a short calibration.
    Raises UserError as `run_sweep`.
    """
    check_runnable(sweep.base)  # batch sizes differ in nothing that could fail on a machine
    if out is None or not out.exists():
        return describe_plan(sweep, make_plan(sweep), {}, calibrate(sweep))
    folder = SweepFolder(out)
    check_settings(folder, sweep)
    session = Session(sweep, folder, about_of=run_facts)
    pace = of_trials(folder.runs()) or calibrate(sweep)
    return describe_plan(sweep, session.plan, session.progress, pace)


def _train(sweep: Sweep, session: Session) -> Outcome:
    display = make_display(SweepStatus(session, price=sweep.settings.price))
    wandb = WandbLogger(sweep.base.wandb, display.message)

    def began(trial: Trial, start: RunStart) -> None:
        display.began(trial, start)
        wandb.start([start])

    def stopped(trial: Trial, verdict: Verdict) -> None:
        display.stopped(trial, verdict)
        wandb.finish(trial.name, "fault" if verdict is Verdict.FAILED else "done")

    session.began, session.stopped = began, stopped
    outcome = Outcome(faults={"": "ended by an error"})
    try:
        if any(session.verdict(trial) is Verdict.UNFINISHED for trial in session.trials()):
            most, max_failures = sweep.settings.parallel, sweep.base.engine.max_failures
            outcome = run_trials(session, CompositeListener([display, wandb]), most=most, max_failures=max_failures)
        else:
            outcome = Outcome()
    finally:
        ending = "interrupted" if outcome.interrupted else "fault" if outcome.faults else "done"
        wandb.end(ending)
        display.end(ending)
    return outcome


def _write_results(session: Session, folder: SweepFolder) -> list[str]:
    """Writes points and report; returns what could not be written, a line each."""
    notes = []
    try:
        folder.write_points(point_rows(session.reached))
    except FaultError as fault:
        notes.append(str(fault))
    try:
        write_report([folder.path], folder.report_path)
    except (FaultError, OSError, UserError) as error:  # a sweep is not lost for want of its picture
        notes.append(f"no report: {error} (try again with: rlgns report {folder.path})")
    return notes


def _conclude(outcome: Outcome, out: Path, notes: list[str]) -> int:
    for name, fault in outcome.faults.items():
        notes.append(f"{name}: {fault}")
    if outcome.interrupted:
        notes.append(f"saved; resume with: rlgns sweep --resume {out}")
    elif outcome.faults:
        notes.append(f"try the failed trials again with: rlgns sweep --resume {out}")
    for note in notes:
        print(f"rlgns: {one_line(note)}", file=sys.stderr)  # noqa: T201  (the display has ended)
    if outcome.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.FAULT if outcome.faults else ExitCode.DONE


def _about(sweep: Sweep) -> dict[str, Any]:
    about = run_facts(sweep.base, sweep.base.run.games[0])
    return {key: about[key] for key in ("created", "protocol", "versions", "git", "hardware")}
