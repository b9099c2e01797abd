"""Reads the inputs of a report from disk: runs, folders of runs, sweeps, tables of points."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlgns.config.calibrations import run_calibrations
from rlgns.config.convert import convert
from rlgns.config.files import exists, read_yaml
from rlgns.critical.points import check_columns, fit_points, parse_point
from rlgns.critical.predicted import with_predictions
from rlgns.errors import UserError
from rlgns.fit.paper import paper_goals
from rlgns.fit.points_file import read_points, read_table
from rlgns.report.run_data import RunData
from rlgns.report.search import search
from rlgns.report.sweep_data import SweepData, make_games
from rlgns.storage.run_folder import RunFolder
from rlgns.storage.sweep_folder import SweepFolder

ReportInput = RunFolder | str | os.PathLike[str]
"""A run, or a path: of a run, a sweep, a folder with such folders below it, or a CSV file of points."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportContent:
    """Everything that a report is about."""

    runs: tuple[RunData, ...] = ()
    sweeps: tuple[SweepData, ...] = ()
    left_out: tuple[str, ...] = ()
    """A line on each run in a folder of runs that is left out, and why."""


def read_content(sources: Sequence[ReportInput]) -> ReportContent:
    """Reads the inputs; a folder stands for all runs and sweeps in folders below it.

    Raises:
        UserError: An input cannot be read or holds neither runs nor points.
    """
    folders: list[RunFolder] = []
    sweeps: list[SweepData] = []
    left_out: list[str] = []
    for source in sources:
        if isinstance(source, RunFolder):
            folders.append(source)
        elif exists(Path(source)) and Path(source).is_file():
            sweeps.append(_table(Path(source)))
        elif (run := RunFolder(source)).config_path.is_file():
            folders.append(run)
        else:
            found = search(source)
            folders += found.runs
            left_out += found.left_out
            for folder in found.sweeps:
                try:
                    sweeps.append(_sweep(folder))
                except UserError as error:
                    if folder.path == Path(source):  # it was named itself
                        raise
                    left_out.append(f"{folder.path}: {error}")
    return ReportContent(runs=tuple(read_runs(folders)), sweeps=tuple(sweeps), left_out=tuple(left_out))


def read_runs(folders: Sequence[RunFolder]) -> list[RunData]:
    """Reads runs. Each is labelled by its game, and by its folder too where several play the same game."""
    games = [str(folder.about().get("game") or folder.path.name) for folder in folders]
    often = Counter(games)
    return [
        _run(folder, game if often[game] == 1 else f"{game} ({folder.path})")
        for game, folder in zip(games, folders, strict=True)
    ]


def _run(folder: RunFolder, label: str) -> RunData:
    config = folder.config()
    for section, values in config.items():
        if not isinstance(values, dict):
            raise UserError(f"{folder.config_path}: config: {section}: {values!r} is not a section of keys and values")
    numbers = (("agent", "epochs", int), ("run", "seed", int), ("noise", "level", float))
    for section, key, kind in numbers:  # that a report computes with
        if config.get(section, {}).get(key) is not None:
            convert(f"{folder.config_path}: {section}.{key}", config[section][key], kind)
    agent, level = config.get("agent", {}), float(config.get("noise", {}).get("level") or 0.95)
    calibrations = run_calibrations(
        algorithm=str(agent.get("algorithm") or "ppo"), epochs=max(1, int(agent.get("epochs") or 1))
    )
    rows = with_predictions(folder.rows(), calibrations, level if 0 < level < 1 else 0.95)
    return RunData(label=label, about=folder.about(), config=config, rows=rows)


def _table(path: Path) -> SweepData:
    goals = fit_points(read_points(path))
    return SweepData(label=path.stem.replace("_", " "), games=make_games(goals, {}, paper_goals()))


def _sweep(folder: SweepFolder) -> SweepData:
    runs = {run.path.name: _run(run, run.path.name) for run in folder.runs()}
    # Before the first goal is reached or missed the file has at most a header.
    points = read_table(folder.points_path, check_columns, parse_point) if _has_rows(folder.points_path) else []
    games = make_games(fit_points(points), runs, paper_goals())
    plan = read_yaml(folder.sweep_path) if folder.sweep_path.exists() else {}
    return SweepData(label=folder.path.name, games=games, plan=plan, runs=tuple(runs.values()))


def _has_rows(file: Path) -> bool:
    try:
        return len(file.read_bytes().splitlines()) > 1
    except OSError:
        return False
