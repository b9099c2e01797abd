"""Reports on runs and sweeps: an HTML page, its numbers as JSON, its figures as files, a summary as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlgns.critical.whose_noise import whose_noise
from rlgns.errors import FaultError
from rlgns.fit.gain_table import predicted_gain
from rlgns.formatting import aligned
from rlgns.report.content import ReportInput, read_content, read_runs
from rlgns.report.document import document
from rlgns.report.json_numbers import report_numbers
from rlgns.report.run_section import result_texts
from rlgns.storage.files import plain, reason, write_atomically
from rlgns.storage.run_folder import RunFolder

__all__ = ["report_data", "summary", "write_figures", "write_report"]


def write_report(sources: Sequence[ReportInput], out: Path) -> tuple[str, ...]:
    """Writes one self-contained HTML page about these runs, sweeps and tables of points, atomically.

    Args:
        sources: Runs, or paths: of a run, a sweep, a folder with such folders below it, or a CSV file of points.
        out: Path of the page.

    Returns:
        A line on each run in those folders that is left out, and why.

    Raises:
        FaultError: The page cannot be written.
        UserError: An input file cannot be read.
    """
    found = read_content(sources)
    content = document(found).encode(errors="replace")  # JSON and YAML may hold half a character
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, content)
    except OSError as error:
        raise FaultError(f"cannot write {out}: {reason(error)}") from error
    return found.left_out


def write_figures(sources: Sequence[ReportInput], out: Path) -> list[Path]:
    """Writes the page's figures as PNG and SVG into a folder and returns their paths.

    Raises:
        FaultError: A file cannot be written.
        UserError: An input cannot be read, or no browser is installed.
    """
    from rlgns.report.images import write_images  # kaleido is slow to import

    return write_images(read_content(sources), out)


def report_data(sources: Sequence[ReportInput]) -> dict[str, Any]:
    """Returns the numbers behind the page, JSON types only. Raises UserError where a file cannot be read."""
    numbers: dict[str, Any] = plain(report_numbers(read_content(sources)))
    return numbers


def summary(folders: Sequence[RunFolder]) -> str:
    """Returns the results of the runs as text: the verdict on each, a table, advice per run, the report's path."""
    runs = read_runs(folders)
    if not runs:
        return "no runs"
    named = {f"{run.label}: " if len(runs) > 1 else "": run for run in runs}
    lines = [f"{name}{run.verdict.sentence()}" for name, run in named.items()]
    table = [("game", *result_texts(runs[0])), *((run.label, *result_texts(run).values()) for run in runs)]
    lines += aligned(table, left=len(table[0]))
    for name, run in named.items():
        lines.append(f"{name}{run.advice.sentence(interval=True)}")
        hours = run.advice.hours(run.last.get("seconds") or 0.0)
        lines += [f"  {hours}"] if hours else []
        gain = predicted_gain(run.adaptive_gamma) if run.adaptive else ""
        lines += [f"  {line}" for line in (gain, whose_noise(run.last)) if line]
    parents = {folder.path.parent for folder in folders}
    places = [folders[0].report_path] if len(folders) == 1 else [parent / "report.html" for parent in parents]
    lines += [f"report: {place}" for place in (*places, folders[0].path.parent / "report.html")[:1] if place.exists()]
    return "\n".join(lines)
