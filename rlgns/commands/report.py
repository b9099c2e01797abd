"""`rlgns report`: writes one HTML file about runs and sweeps, or prints the numbers behind it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from rlgns.commands.parser import Parser
from rlgns.commands.settings import say
from rlgns.errors import ExitCode, FaultError, UserError

SUMMARY = "one HTML file about runs and sweeps"

DESCRIPTION = """\
Writes one self-contained HTML file about runs, sweeps and tables of points, or prints the numbers behind it. DIR is a
run's folder, a sweep's folder, a folder with such folders at any depth below it, or a CSV file with a sweep's points.
Runs below a folder that say nothing (nothing was trained, or a file is damaged) are left out, and named.

examples:
  rlgns report runs/pong-20260101-120000
  rlgns report runs/pong-* --out pong.html
  rlgns report runs                                  every run and sweep below runs/
  rlgns report runs/breakout --figures runs/breakout/figures
  rlgns report points.csv --out points.html
  rlgns report runs/pong-20260101-120000 --json > numbers.json
"""


def add_arguments(parser: Parser) -> None:
    """Adds the command's arguments to its parser."""
    parser.add_argument("folders", metavar="DIR", nargs="+", help="runs, folders of runs, sweeps, CSV files of points")
    parser.add_argument("--out", metavar="FILE.html", help="(default: report.html in DIR, or here for several)")
    parser.add_argument("--figures", metavar="DIR", help="also write figures as PNG and SVG (needs Chrome or Chromium)")
    parser.add_argument("--json", action="store_true", help="print the numbers, write no file")


def run(options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Writes the report and its figures, or prints the numbers."""
    for name in ("out", "figures"):
        if options.json and getattr(options, name) is not None:
            raise UserError(f"--json prints numbers and writes no file; leave out --json or --{name}")
    from rlgns import report as reporting

    if options.json:
        print(json.dumps(reporting.report_data(options.folders), indent=2, allow_nan=False))
        return ExitCode.DONE
    out = Path(options.out) if options.out is not None else _default_out(options.folders)
    try:
        # figures first: without a browser there is neither figure nor page
        figures = reporting.write_figures(options.folders, Path(options.figures)) if options.figures is not None else []
        left_out = reporting.write_report(options.folders, out)
    except FaultError as fault:  # no run is in progress: the user named a file that cannot be written
        raise UserError(str(fault)) from fault
    for line in left_out:
        say(f"left out: {line}")
    print(out)
    if figures:
        print(f"{options.figures}: {len(figures)} pictures")
    return ExitCode.DONE


def _default_out(folders: list[str]) -> Path:
    from rlgns.config.files import exists

    inside = len(folders) == 1 and exists(Path(folders[0])) and Path(folders[0]).is_dir()
    return (Path(folders[0]) if inside else Path()) / "report.html"
