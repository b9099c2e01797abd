"""`rlgns fit`: fits the critical batch size to a table of points."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from rlgns.commands.parser import Parser
from rlgns.errors import ExitCode, UserError

SUMMARY = "critical batch of a sweep's points"

DESCRIPTION = """\
Fits the trade-off S = S_min (1 + B_crit / B) between optimizer steps and batch size to a sweep's points, for every game
and score goal. POINTS is a CSV file with the columns game, goal_score, batch_observations, optimizer_steps and
observations, or the folder of a sweep.

examples:
  rlgns fit points.csv
  rlgns fit runs/breakout-quick-20260101-120000 --json > fits.json
  rlgns fit runs/breakout-quick-20260101-120000 --adaptive runs/breakout-20260102-120000
"""


def add_arguments(parser: Parser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("points", metavar="POINTS", help="a CSV file of points, or a sweep's folder")
    parser.add_argument(
        "--adaptive", metavar="RUN", nargs="+", help="runs with an adaptive batch, to compare with the fixed batches"
    )
    parser.add_argument("--level", metavar="P", default="0.95", help="confidence of the intervals (default: 0.95)")
    parser.add_argument("--json", action="store_true", help="print every number, for programs")


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Fits the trade-off of every game and goal, and prints tables or numbers."""
    from rlgns.config.convert import convert

    level = convert("--level", options.level, float)
    if not 0 < level < 1:
        raise UserError(f"--level must lie between 0 and 1, got {level}")
    from rlgns.critical.points import fit_points
    from rlgns.fit.points_file import read_points
    from rlgns.fit.table import describe_fit, table

    fits = fit_points(read_points(Path(options.points)), level=level)
    adaptive = []
    if options.adaptive:
        from rlgns.fit.gain_table import check_games, describe_gain, gain_table, gains, read_runs

        runs = read_runs([Path(path) for path in options.adaptive])
        check_games(fits, runs)
        adaptive = gains(fits, runs, level)
    if options.json:
        found = {"level": level, "fits": [describe_fit(goal) for goal in fits]}
        if adaptive:
            found["adaptive"] = [describe_gain(gain) for gain in adaptive]
        print(json.dumps(found, indent=2, allow_nan=False))
    else:
        print(table(fits, level))
        if adaptive:
            print(f"\n{gain_table(adaptive)}")
    return ExitCode.DONE
