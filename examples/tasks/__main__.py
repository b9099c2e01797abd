"""Command line of the tasks: a trial, a sweep, or the contest or adaptive runs of a sweep. See docs/sweeps.md."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from examples.tasks.adaptive import run_adaptive
from examples.tasks.contest import run_contest
from examples.tasks.problem import make_problem
from examples.tasks.settings import TASKS, TaskSettings, find_task, groups_of
from examples.tasks.sweep import run_sweep
from examples.tasks.trial import goals_reached, train
from rlgns.errors import ExitCode, FaultError, UserError, one_line
from rlgns.sweep.plan import Cell, Trial, Verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, sys.argv by default, and returns its exit code."""
    try:
        options = _parser().parse_args(arguments)
        settings = chosen_settings(options)
        if options.workers < 1:
            raise UserError(f"--workers must be at least 1, got {options.workers}")
        if sum(where is not None for where in (options.sweep, options.contest, options.adaptive)) > 1:
            raise UserError("give one of --sweep, --contest and --adaptive; the last two are about a sweep that ended")
        if options.contest is not None:
            print(f"contest: {run_contest(settings, options.contest, options.workers)}")
            return ExitCode.DONE
        if options.adaptive is not None:
            print(f"adaptive: {run_adaptive(settings, options.adaptive, options.workers)}")
            return ExitCode.DONE
        if options.sweep is None:
            _one_trial(settings)
            return ExitCode.DONE
        print(f"points: {run_sweep(settings, options.sweep, options.workers)}")
        return ExitCode.DONE
    except UserError as mistake:
        print(f"tasks: {one_line(mistake)}", file=sys.stderr)
        return ExitCode.USER_ERROR
    except FaultError as fault:
        print(f"tasks: {one_line(fault)}", file=sys.stderr)
        return ExitCode.FAULT
    except KeyboardInterrupt:
        print("tasks: interrupted; the same command continues", file=sys.stderr)
        return ExitCode.INTERRUPTED


def chosen_settings(options: argparse.Namespace) -> TaskSettings:
    """Returns the task's settings with what the command line changes. Raises UserError."""
    task = find_task(options.task)
    names = [field.name for field in dataclasses.fields(task) if field.name not in ("dataset", "model")]
    given = {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}
    for name, value in given.items():
        given[name] = tuple(dict.fromkeys(value)) if isinstance(value, list) else value
    if "width" in given and "name" not in given and given["width"] != task.width:
        given["name"] = f"{task.name}-w{given['width']}"
    settings = dataclasses.replace(task, **given)
    for name in ("width", "learning_rate", "learning_rates", "budget"):
        if getattr(settings, name) <= 0:
            raise UserError(f"--{name.replace('_', '-')} must be positive, got {getattr(settings, name)}")
    for name in ("momentum", "widenings"):
        if getattr(settings, name) < 0:
            raise UserError(f"--{name} must be zero or positive, got {getattr(settings, name)}")
    if not all(goal > 0 for goal in settings.goals):
        raise UserError(f"--goals must be positive losses, got {' '.join(map(str, settings.goals))}")
    if settings.momentum and settings.optimizer != "sgd":
        raise UserError(f"--momentum is SGD's, and this task's optimizer is {settings.optimizer}; add --optimizer sgd")
    # it names files, and is a cell of a table, where a spreadsheet computes =1+2
    if not re.fullmatch(r"\w[\w .-]*", settings.name):
        raise UserError(
            "--name must begin with a letter or digit, and have letters, digits, spaces, - _ and . alone, "
            f"got {settings.name!r}"
        )
    return settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.tasks",
        description="Trains one trial of a task, or with --sweep its grid of batch sizes, learning rates and seeds.",
        epilog=f"tasks: {', '.join(TASKS)}. Defaults are the task's own settings (examples/tasks/settings.py).",
    )
    parser.add_argument("task", metavar="TASK")
    parser.add_argument("--sweep", type=Path, metavar="DIR", help="run or continue the sweep in this folder")
    parser.add_argument(
        "--contest", type=Path, metavar="DIR", help="measure all candidates along this sweep's best runs"
    )
    parser.add_argument(
        "--adaptive", type=Path, metavar="DIR", help="train adaptive batches beside this sweep's best fixed batch"
    )
    parser.add_argument("--data", metavar="PATH", help="a .npz file, a text file, or the folder of torchvision's data")
    parser.add_argument("--batches", type=int, nargs="+", metavar="B", help="observations per optimizer step")
    parser.add_argument("--learning-rates", type=int, metavar="N", help="rates per batch at the start, factors of 2")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="the centre's limit at large batches")
    parser.add_argument("--widenings", type=int, metavar="N", help="most rates added on either side")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED")
    parser.add_argument("--goals", type=float, nargs="+", metavar="LOSS", help="losses to reach")
    parser.add_argument("--budget", type=int, metavar="N", help="observations after which a trial gives up")
    parser.add_argument("--width", type=int, metavar="N", help="of the model; also named in the task's name")
    parser.add_argument("--optimizer", choices=("sgd", "adam"))
    parser.add_argument("--momentum", type=float, metavar="X", help="of SGD")
    parser.add_argument("--name", help="the task's name in points.csv")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N", help="(default: all cores)")
    return parser


def _one_trial(settings: TaskSettings) -> None:
    """Trains at the middle batch, the centre's learning rate and the first seed, and prints what each goal took."""
    torch.set_num_threads(1)
    problem, plan = make_problem(settings), settings.plan
    batch = sorted(settings.batches)[len(settings.batches) // 2]
    groups_of(batch, problem.per_draw)
    trial = Trial(Cell(settings.seeds[0], settings.name, batch), plan.learning_rate_rule.learning_rate(batch, step=0))
    rows = train(
        problem,
        settings,
        batch=batch,
        learning_rate=trial.learning_rate,
        seed=settings.seeds[0],
        over=lambda own: plan.verdict(trial, {trial: own}) is not Verdict.UNFINISHED,
    )
    print(f"{trial.name}: {rows[-1]['step']:,d} steps, {rows[-1]['seconds']:.1f} s, last loss {rows[-1]['loss']:.4g}")
    for found in goals_reached(rows, settings, batch):
        print(f"loss {-found.goal:g} after {found.optimizer_steps:,.0f} steps, {found.seconds:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
