"""What the page about noise scale and critical batch is made of: the tables under docs/results/agreement.

TASK.csv            points of a finished sweep, as they came
contest/TASK.csv    every candidate along its best runs: python -m examples.tasks TASK --contest DIR, or a game's rows
rows/TASK.csv.gz    rows of the best runs of the hardest goal; of games, means over blocks of rows
adaptive/TASK.csv   pairs of adaptive and fixed runs: python -m examples.tasks TASK --adaptive DIR
sources.yaml        command, commit, seeds of each sweep
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.contest_scores import PATH, GoalErrors
from benchmarks.evidence_games import PLAYED, POLICY, add_game
from examples.tasks.sweep import read_rows
from rlgns.critical.points import GoalFit, Point, best_points, cell_number, fit_points
from rlgns.fit.points_file import read_points

RESULTS = Path(__file__).parent.parent / "docs" / "results"
FOLDER = RESULTS / "agreement"
CANDIDATES = (PATH, "preconditioned", "hessian")
GAME_CANDIDATES = (PATH, PLAYED, POLICY)
AS_SWEPT = "path_as_swept"
PLANNED = (
    "digits-sgd",
    "digits-adam",
    "mnist-conv",
    "mnist-autoencoder",
    "mnist-vae",
    "words-lstm-32",
    "words-lstm-64",
    "characters-lstm-32",
    "characters-lstm-64",
    "characters-lstm-64-longer",
    "breakout",
    "qbert",
    "space_invaders",
    "pong",
)
"""Tasks of the plan (docs/notes/contest.md), games last."""
ROW_COLUMNS = ("run", "batch_observations", "step", "loss", "smoothed", "grad_sq", "trace")


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """One task: its goals' fits by candidate, goals from easy to hard."""

    name: str
    group: str
    fits: Mapping[str, tuple[GoalFit, ...]]
    """By candidate; `path_as_swept` has the sweep's own column. All have the same critical batches."""
    rows: tuple[dict[str, Any], ...]
    """Of best runs; empty where none are kept."""
    source: Mapping[str, Any]

    @property
    def goals(self) -> tuple[GoalFit, ...]:
        """With the path average."""
        return self.fits.get(PATH, self.fits[AS_SWEPT])

    @property
    def errors(self) -> list[GoalErrors]:
        """Identified goals with what each candidate predicts."""
        return [
            GoalErrors(
                task=self.name,
                group=self.group,
                goal=goal.goal_score,
                critical=goal.fit.critical_batch,
                predicted={name: fits[place].noise_scale for name, fits in self.with_path.items()},
            )
            for place, goal in enumerate(self.goals)
            if goal.fit.identified
        ]

    @property
    def with_path(self) -> dict[str, tuple[GoalFit, ...]]:
        """The candidates; games have the path average of their sweep."""
        return {**self.fits, PATH: self.goals}


def group_of(task: str) -> str:
    """Returns the group of a task: those that differ only in width or optimizer have one."""
    plain = re.sub(r"-w\d+$", "", task)
    return plain.split("-")[0] if plain.startswith(("digits-", "words-", "characters-")) else plain


def width_of(task: str) -> int | None:
    """Returns the width in a task's name that is not the task's own; None where there is none."""
    found = re.search(r"-w(\d+)$", task)
    return int(found.group(1)) if found else None


def load_tasks(folder: Path = FOLDER) -> list[TaskResult]:
    """Returns every task that has points in the folder."""
    sources = yaml.safe_load((folder / "sources.yaml").read_text()) if (folder / "sources.yaml").exists() else {}
    files = sorted(folder.glob("*.csv"))
    found = [_load(file, folder, sources) for file in files]
    return sorted(found, key=lambda task: PLANNED.index(task.name) if task.name in PLANNED else len(PLANNED))


def _load(file: Path, folder: Path, sources: Mapping[str, Any]) -> TaskResult:
    points = [point for point in read_points(file) if point.reached]
    name = points[0].game
    fits = {AS_SWEPT: _sorted(fit_points(points))}
    contest = folder / "contest" / file.name
    if contest.exists():
        with contest.open(newline="") as text:
            lines = list(csv.DictReader(text))
        for candidate in dict.fromkeys(line["candidate"] for line in lines):
            fits[candidate] = _sorted(fit_points(with_candidate(points, lines, candidate)))
    rows = folder / "rows" / f"{name}.csv.gz"
    return TaskResult(
        name=name,
        group=group_of(name),
        fits=fits,
        rows=tuple(_read_rows(rows)) if rows.exists() else (),
        source=sources.get(name, {}),
    )


def with_candidate(points: Sequence[Point], lines: Sequence[Mapping[str, str]], candidate: str) -> list[Point]:
    """Returns the best runs' points with a candidate's noise scale, from the lines of contest.csv, in place of theirs.

    Raises:
        ValueError: A best run has no line.
    """
    ends = ("noise_scale", "noise_scale_low", "noise_scale_high")
    known = {
        (line["run"], float(line["goal_score"])): tuple(cell_number(line, end) for end in ends)
        for line in lines
        if line["candidate"] == candidate
    }
    found = []
    for point in best_points(points):
        key = (str(point.run), point.goal_score)
        if key not in known:
            raise ValueError(f"contest of {point.game} has no line of {key[0]} at {key[1]:g}: measure it again")
        value, low, high = known[key]
        found.append(dataclasses.replace(point, noise_scale=value, noise_scale_low=low, noise_scale_high=high))
    return found


def add_sweep(path: Path, folder: Path = FOLDER) -> str:
    """Copies what the page needs of a finished sweep into the folder and returns the task's name."""
    content = yaml.safe_load((path / "sweep.yaml").read_text())
    for below in (folder / "contest", folder / "rows", folder / "adaptive"):
        below.mkdir(parents=True, exist_ok=True)
    about = content["about"]
    source = {"commit": about["commit"] if "commit" in about else about["git"]}  # of a task, of games
    if "task" in content:
        name = _add_task(content["task"]["name"], path, folder)
        source |= {"seeds": content["task"]["seeds"], "width": content["task"]["width"]}
    else:
        name = add_game(path, folder)
        source |= {"seeds": list(content["sweep"]["seeds"])}
    sources_file = folder / "sources.yaml"
    sources = yaml.safe_load(sources_file.read_text()) if sources_file.exists() else {}
    sources_file.write_text(yaml.safe_dump({**sources, name: source}, sort_keys=True))
    return name


def _add_task(name: str, path: Path, folder: Path) -> str:
    shutil.copyfile(path / "points.csv", folder / f"{name}.csv")
    for more in ("contest", "adaptive"):
        if (path / f"{more}.csv").exists():
            shutil.copyfile(path / f"{more}.csv", folder / more / f"{name}.csv")
    best = [point for point in best_points(read_points(path / "points.csv")) if point.reached]
    hardest = max(point.goal_score for point in best)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(ROW_COLUMNS)
    for point in (point for point in best if point.goal_score == hardest):
        for row in read_rows(path / "runs" / f"{point.run}.jsonl.gz"):
            numbers = [row[key] for key in ROW_COLUMNS[3:]]
            cells = ["" if number is None else f"{number:.5g}" for number in numbers]
            writer.writerow([point.run, f"{point.batch_observations:g}", row["step"], *cells])
    (folder / "rows" / f"{name}.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    return name


def _read_rows(file: Path) -> list[dict[str, Any]]:
    text = gzip.decompress(file.read_bytes()).decode()
    return [
        {key: cell if key == "run" else cell_number(row, key) for key, cell in row.items()}
        for row in csv.DictReader(io.StringIO(text))
    ]


def _sorted(fits: Sequence[GoalFit]) -> tuple[GoalFit, ...]:
    return tuple(sorted(fits, key=lambda goal: goal.goal_score))
