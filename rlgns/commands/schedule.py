"""`rlgns schedule`: the batch schedule that a measured run supports, as other trainers take it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from rlgns.commands.parser import Parser
from rlgns.errors import ExitCode, UserError, nearest

SUMMARY = "the batch schedule that a measured run supports"

DESCRIPTION = """\
Prints the batch schedule that a run's critical batch supports: doublings, each with the place where it begins and
whether the run is sure of it. RUN is the folder of a run, trainer_state.json of Transformers, metrics.csv of Lightning,
or a file of JSON lines.

examples:
  rlgns schedule runs/breakout-20260101-120000
  rlgns schedule runs/breakout-20260101-120000 --sure --most 4096 --format csv > schedule.csv
  rlgns schedule out/checkpoint-5000/trainer_state.json --format megatron --observations-per-sample 4095
  rlgns schedule lightning_logs/version_0/metrics.csv --format lightning --epoch 50000
  rlgns schedule out/checkpoint-5000/trainer_state.json --format olmo
"""


def add_arguments(parser: Parser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("run_path", metavar="RUN", help="a run's folder, or what another trainer logged")
    parser.add_argument(
        "--format", default="table", metavar="F", help="table, csv, json, megatron, lightning or olmo (default: table)"
    )
    parser.add_argument(
        "--sure", action="store_true", help="change the batch only where the critical batch's interval asks for it"
    )
    parser.add_argument("--least", metavar="B", default="1", help="smallest batch, observations (default: 1)")
    parser.add_argument("--most", metavar="B", help="largest batch, observations (default: no limit)")
    parser.add_argument(
        "--observations-per-sample", metavar="N", default="1", help="for megatron: labels in a sequence (default: 1)"
    )
    parser.add_argument("--epoch", metavar="N", help="for lightning: observations in an epoch")
    parser.add_argument(
        "--micro-batch", metavar="N", help="for lightning: observations in a micro-batch (default: the first batch)"
    )


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Prints the schedule."""
    from rlgns.critical.schedule import measured_points, schedule
    from rlgns.fit.measured_rows import read_rows
    from rlgns.fit.schedule_formats import FORMATS, Units

    if options.format not in FORMATS:
        raise UserError(
            f"--format must be one of {', '.join(FORMATS)}; got {options.format!r}" + nearest(options.format, FORMATS)
        )
    least, most = _whole("--least", options.least), _whole("--most", options.most)
    if most is not None and least is not None and most < least:
        raise UserError(f"--most must be at least --least, got {most} and {least}")
    units = Units(
        observations_per_sample=_whole("--observations-per-sample", options.observations_per_sample) or 1,
        observations_per_epoch=_whole("--epoch", options.epoch),
        micro_batch=_whole("--micro-batch", options.micro_batch),
    )
    path = Path(options.run_path)
    points = measured_points(read_rows(path))
    if not points:
        raise UserError(
            f"{path}: no critical batch was known at any time of this run; train longer, or let it measure more often"
        )
    found = schedule(points, sure=options.sure, least=least or 1, most=float("inf") if most is None else most)
    print(FORMATS[options.format](found, units))
    return ExitCode.DONE


def _whole(name: str, text: str | None) -> int | None:
    from rlgns.config.convert import convert

    if text is None:
        return None
    number: int = convert(name, text, int)
    if number < 1:
        raise UserError(f"{name} must be a positive whole number, got {text}")
    return number
