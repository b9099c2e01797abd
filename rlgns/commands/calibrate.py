"""`rlgns calibrate`: measures a checkpoint's noise scales by brute force, and how far off every estimator is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from rlgns.commands.parser import Parser
from rlgns.errors import ExitCode

SUMMARY = "true noise scales beside every estimator"

DESCRIPTION = """\
Plays with a trained policy and replays iterations from its checkpoint, until two noise scales are known to the given
precision or the observations are used up: at the parameters that played (noise/at_rollout/scale), and along the
optimizer steps of a first epoch (noise/scale), at every step by environments that no step has seen. The first rounds,
which are not the policy's own play, are left out. Ends with both, and with whether the run's own numbers agree. Every
on-line estimator, ours and those of other tools, is compared on the same games. Ctrl-C prints the results so far.

examples:
  rlgns calibrate runs/pong-20260101-120000
  rlgns calibrate runs/pong-20260101-120000/checkpoints/00000400 --observations 500000 --precision 0.02 --json
  rlgns calibrate runs/pong-20260101-120000 --line-search
"""


def add_arguments(parser: Parser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a run's folder, or one of its checkpoints")
    parser.add_argument(
        "--observations",
        metavar="N",
        default="200000",
        help="most to play, rounded up to whole rounds (default: 200000)",
    )
    parser.add_argument(
        "--precision", metavar="P", default="0.05", help="relative standard error to reach (default: 0.05)"
    )
    parser.add_argument("--seed", metavar="S", default="0", help="seed of the games (default: 0)")
    parser.add_argument(
        "--line-search",
        action="store_true",
        help="measure B_noise instead: from the best step size at each batch size, and from the Hessian",
    )
    parser.add_argument("--json", action="store_true", help="print the numbers")


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Calibrates by brute force or by line searches, and prints tables or numbers."""
    from rlgns.config.convert import convert

    observations, seed = convert("--observations", options.observations, int), convert("--seed", options.seed, int)
    precision = convert("--precision", options.precision, float)
    if options.line_search:
        return _line_search(options, observations, seed)
    from rlgns.calibrate import run as calibration
    from rlgns.calibrate.numbers import numbers
    from rlgns.calibrate.table import tables

    found = calibration.calibrate(Path(options.checkpoint), observations=observations, precision=precision, seed=seed)
    print(json.dumps(numbers(found), indent=2, allow_nan=False) if options.json else tables(found))
    return ExitCode.DONE if found.stopped is None else found.stopped


def _line_search(options: argparse.Namespace, observations: int, seed: int) -> int:
    """Measures B_noise of a frozen policy by line searches and by Hessian-vector products, and prints both."""
    import dataclasses

    from rlgns.calibrate.line_search import line_search
    from rlgns.monitor.progress_bars import ProgressBars
    from rlgns.storage.checkpoint import load_policy
    from rlgns.storage.files import plain

    policy = load_policy(Path(options.checkpoint))
    with ProgressBars() as progress:
        found = line_search(policy, observations=observations, seed=seed, progress=progress)
    numbers = json.dumps(plain(dataclasses.asdict(found)), indent=2, allow_nan=False)
    print(numbers if options.json else found.describe())
    return ExitCode.DONE
