"""What a run came to: an HTML page, the numbers behind it, a table for standard output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlgns.errors import FaultError
from rlgns.folder import RunFolder, plain, reason, write_atomically
from rlgns.report.data import RunData, describe
from rlgns.report.html import final_figures, page

__all__ = ["report_data", "summary", "write_report"]


def write_report(folders: Sequence[RunFolder], out: Path) -> None:
    """Writes one self-contained HTML page about these runs, whole or not at all.

    Raises:
        FaultError: The page cannot be written.
        UserError: A run's files cannot be read.
    """
    content = page(_read(folders)).encode()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, content)
    except OSError as error:
        raise FaultError(f"cannot write {out}: {reason(error)}") from error


def report_data(folders: Sequence[RunFolder]) -> dict[str, Any]:
    """Returns the numbers behind the page, JSON types only. Raises UserError where a run's files cannot be read."""
    described: dict[str, Any] = plain({"runs": [describe(run) for run in _read(folders)]})
    return described


def summary(folders: Sequence[RunFolder]) -> str:
    """Returns what the runs came to as aligned plain text: a table, advice per run, the report's path."""
    runs = _read(folders)
    if not runs:
        return "no runs"
    table = [("game", *final_figures(runs[0]))]
    table += [(run.label, *final_figures(run).values()) for run in runs]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    for run in runs:
        name = f"{run.label}: " if len(runs) > 1 else ""
        lines.append(f"{name}{run.advice.sentence(interval=True)}")
        hours = run.advice.hours(run.last.get("seconds") or 0.0)
        lines += [f"  {hours}"] if hours else []
    parents = {folder.path.parent for folder in folders}
    places = [folders[0].report_path] if len(folders) == 1 else [parent / "report.html" for parent in parents]
    lines += [f"report: {place}" for place in (*places, folders[0].path.parent / "report.html")[:1] if place.exists()]
    return "\n".join(lines)


def _read(folders: Sequence[RunFolder]) -> list[RunData]:
    games = [str(folder.about().get("game") or folder.path.name) for folder in folders]
    often = Counter(games)
    return [
        RunData(
            label=game if often[game] == 1 else f"{game} ({folder.path})",
            about=folder.about(),
            config=folder.config(),
            rows=folder.rows(),
        )
        for game, folder in zip(games, folders, strict=True)
    ]
