"""`rlgns fit`: fits the critical batch size to a table of points."""

from __future__ import annotations

import argparse
import dataclasses
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
  rlgns fit runs/breakout-quick-20260101-120000 runs/pong-quick-20260103-120000 --calibration mine.json

With --calibration POINTS may also be a table of goals with the columns game, goal_score, critical_batch_observations
and noise_scale_observations.
"""


def add_arguments(parser: Parser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("points", metavar="POINTS", nargs="+", help="CSV files of points, or sweeps' folders")
    parser.add_argument(
        "--adaptive", metavar="RUN", nargs="+", help="runs with an adaptive batch, to compare with the fixed batches"
    )
    parser.add_argument(
        "--calibration", metavar="FILE", help="write what these games say of critical batch / noise scale to this file"
    )
    parser.add_argument("--algorithm", help="with --calibration: ppo or a2c (default: that of the sweep)")
    parser.add_argument("--epochs", metavar="N", help="with --calibration: passes over a rollout (default: the same)")
    parser.add_argument("--level", metavar="P", default="0.95", help="confidence of the intervals (default: 0.95)")
    parser.add_argument("--json", action="store_true", help="print every number, for programs")


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Fits the trade-off of every game and goal, and prints tables or numbers."""
    from rlgns.config.convert import convert

    level = convert("--level", options.level, float)
    if not 0 < level < 1:
        raise UserError(f"--level must lie between 0 and 1, got {level}")
    paths = [Path(path) for path in options.points]
    if options.calibration and options.adaptive:
        raise UserError("--calibration and --adaptive cannot be used together; run rlgns fit twice")
    if options.calibration:
        return _calibrate(options, paths, level)
    for name in ("algorithm", "epochs"):
        if getattr(options, name):
            raise UserError(f"--{name} {getattr(options, name)} needs --calibration FILE")
    from rlgns.critical.points import fit_points
    from rlgns.fit.points_file import read_points
    from rlgns.fit.table import describe_fit, table

    fits = fit_points([point for path in paths for point in read_points(path)], level=level)
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


def _calibrate(options: argparse.Namespace, paths: list[Path], level: float) -> int:
    """Fits a calibration, writes it, and prints it."""
    import shlex

    from rlgns.fit.calibration import (
        calibration_summary,
        check_place,
        check_target,
        make_calibration,
        read_measured,
        use_of,
        write_calibration,
    )
    from rlgns.machine.commit import source_commit

    out = Path(options.calibration)
    check_target(out, paths)
    measured = read_measured(paths)
    algorithm, epochs = _trained_with(options, paths, measured.reuse)
    calibration, prior = make_calibration(measured, name=out.stem, algorithm=algorithm, epochs=epochs)
    check_place(out, calibration)
    words = ["rlgns", "fit", *options.points, "--calibration", options.calibration]
    words += ["--algorithm", algorithm, "--epochs", str(epochs)]
    provenance = {
        "points": [str(path) for path in paths],
        "bounds": list(measured.bounds),
        "left_out": list(measured.left_out),
        "prior": prior,
        "command": shlex.join(words),
        "commit": source_commit(),
    }
    write_calibration(out, calibration, provenance)
    if options.json:
        print(json.dumps(dataclasses.asdict(calibration), indent=2, allow_nan=False))
    else:
        print(f"{calibration_summary(calibration, measured, level)}\nwritten to {out}: {use_of(out, calibration)}")
    return ExitCode.DONE


def _trained_with(options: argparse.Namespace, paths: list[Path], reuse: float | None) -> tuple[str, int]:
    """Algorithm and epochs: those given, else the sweeps', else epochs from how often steps reuse observations."""
    from rlgns.config.convert import convert
    from rlgns.fit.calibration import trained_with
    from rlgns.formatting import plural

    known = {found for found in map(trained_with, paths) if found is not None}
    if len(known) > 1:
        raise UserError(f"a calibration is of one algorithm with as many epochs; these sweeps have {sorted(known)}")
    algorithm, epochs = known.pop() if known else ("", 0)
    if algorithm and options.algorithm not in (None, algorithm):
        raise UserError(f"--algorithm {options.algorithm}: the sweep's runs are of {algorithm}; leave the option out")
    algorithm = options.algorithm or algorithm
    if algorithm not in ("ppo", "a2c"):
        got = f", got {algorithm!r}" if algorithm else ": the points do not say it"
        raise UserError(f"--algorithm must be ppo or a2c{got}")
    swept = epochs or (1 if algorithm == "a2c" and reuse is None else round(reuse or 0))
    epochs = convert("--epochs", options.epochs, int) if options.epochs else swept
    if epochs < 1:
        got = f", got {options.epochs}" if options.epochs else ": the points do not say it"
        raise UserError(f"--epochs must be a positive whole number{got}")
    if swept and epochs != swept:
        raise UserError(f"--epochs {epochs}: the sweep's steps use every observation {plural(swept, 'time')}")
    return algorithm, epochs
