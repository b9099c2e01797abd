"""`rlgns sweep`: trains at many batch sizes and records what every score goal took."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from rlgns.commands.parser import Parser
from rlgns.commands.settings import SHORT_OPTIONS, add_settings, new_folder, refuse_with_resume, say, settings_of
from rlgns.errors import ExitCode, UserError

SUMMARY = "batch sizes x learning rates to score goals"

DESCRIPTION = """\
Trains at many batch sizes, tunes the learning rate for each, and writes to points.csv what every score goal took.
Every combination of game, batch size, learning rate and seed is a separate run; a finished run is never repeated.

examples:
  rlgns sweep --config breakout-quick --dry-run
  rlgns sweep --config breakout-quick --out runs/breakout
  rlgns sweep --config mine.yaml --sweep.batches 64,256,1024 --sweep.seeds 0,1 --sweep.goals 2,10
  rlgns sweep --resume runs/breakout

Shipped sweeps: breakout-quick (2 hours on 2 cores), qbert-quick (3), space-invaders-quick (4), pong-quick (10),
paper-a2c (for a cluster). docs/sweeps.md explains what a sweep decides, and how. Every key can be set by
--section.key VALUE, also those of the section `sweep`.
"""

SHORT_OPTIONS_OF_SWEEP = {**SHORT_OPTIONS, "parallel": "sweep.parallel", "price": "sweep.price"}

CHANGEABLE_ON_RESUME = ("run.observations", "sweep.parallel", "sweep.price")
"""Keys that may be given with --resume: the first enlarges the budget, the others change nothing that is trained."""


def add_arguments(parser: Parser) -> None:
    """Adds the command's arguments to its parser."""
    add_settings(parser, config="shipped sweep or YAML file with a section sweep", one_run=False)
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="the sweep's folder (default: runs/CONFIG-DATE-TIME); a sweep that is already there is resumed",
    )
    parser.add_argument("--resume", metavar="DIR", help="resume the sweep in DIR; --observations enlarges its budget")
    parser.add_argument("--parallel", metavar="N", help="trials at once (default: one per core; up to four per GPU)")
    parser.add_argument("--price", metavar="P", help="money per core and hour, for the cost")
    parser.add_argument("--dry-run", action="store_true", help="print the plan with estimated hours, train nothing")


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Runs or resumes a sweep, or prints its plan."""
    from rlgns.storage.sweep_folder import SweepFolder
    from rlgns.sweep.load import resolve_sweep

    if options.resume is not None:
        refuse_with_resume(options, overrides, CHANGEABLE_ON_RESUME)
        out, file = Path(options.resume), SweepFolder(options.resume).sweep_path
        if not file.is_file():
            raise UserError(f"no sweep found in {out}: there is no {file.name}")
    else:
        file = config_file(options)
        out = Path(options.out) if options.out is not None else new_folder(file.stem)
    sweep = resolve_sweep(file, settings_of(options, overrides, SHORT_OPTIONS_OF_SWEEP), say=say)
    from rlgns.sweep.run import dry_run, run_sweep

    if options.dry_run:
        print(dry_run(sweep, out))
        return ExitCode.DONE
    return run_sweep(sweep, out)


def config_file(options: argparse.Namespace) -> Path:
    """Returns the sweep that --config names. Raises UserError where there is none."""
    if options.config is None:
        raise UserError("which sweep? give --config FILE, or --resume DIR (`rlgns sweep --help` lists shipped sweeps)")
    return Path(options.config)
