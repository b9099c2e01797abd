"""Takes a game's finished sweep over into docs/results/agreement: its points, candidates and rows.

The contest (docs/notes/contest.md) has two candidates for games only: the noise scale at the parameters that played,
and the noise scale of the policy loss. Both are averaged over the rows of the best runs, like the path average.
"""

from __future__ import annotations

import csv
import gzip
import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contest_scores import PATH
from examples.tasks.contest import COLUMNS
from rlgns.critical.goals import reach_goals
from rlgns.critical.points import Point, best_points
from rlgns.fit.points_file import read_points
from rlgns.storage.run_folder import RunFolder

PLAYED, POLICY = "played", "policy"
MOMENTS = {PATH: "noise", PLAYED: "noise/at_rollout", POLICY: "noise/by_loss/policy"}
"""Where the rows of metrics.jsonl have `grad_sq` and `trace` of each candidate."""
ROW_COLUMNS = ("run", "batch_observations", "step", "observations", "score", "grad_sq", "trace")
BLOCKS = 200
"""Most rows kept of a run: means over as many blocks of its rows."""

Row = Mapping[str, Any]


def add_game(path: Path, folder: Path) -> str:
    """Writes the tables of a sweep of one game and returns the game's name.

    Raises:
        ValueError: The sweep has several games.
    """
    points = read_points(path / "points.csv")
    games = sorted({point.game for point in points})
    if len(games) != 1:
        raise ValueError(f"{path}: a sweep of one game is needed, got {', '.join(games) or 'none'}")
    (name,) = games
    shutil.copyfile(path / "points.csv", folder / f"{name}.csv")
    best = [point for point in best_points(points) if point.reached]
    runs = {run: RunFolder(path / "runs" / run).rows() for run in dict.fromkeys(str(point.run) for point in best)}
    with (folder / "contest" / f"{name}.csv").open("w", newline="") as target:
        table = csv.DictWriter(target, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(line for point in best for line in candidate_lines(point, runs[str(point.run)]))
    hardest = max(point.goal_score for point in best)
    text = io.StringIO()
    thin = csv.writer(text, lineterminator="\n")
    thin.writerow(ROW_COLUMNS)
    for point in best:
        if point.goal_score == hardest:
            for block in blocks(runs[str(point.run)]):
                thin.writerow([point.run, f"{point.batch_observations:g}", *block])
    (folder / "rows" / f"{name}.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    return name


def candidate_lines(point: Point, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yields a line of contest.csv for each candidate of a best run."""
    for candidate, place in MOMENTS.items():
        grad_sq, trace = f"{place}/grad_sq", f"{place}/trace"
        own = [row | {"noise/grad_sq": row.get(grad_sq), "noise/trace": row.get(trace)} for row in map(dict, rows)]
        (goal,) = reach_goals(own, [point.goal_score])
        if goal is None:
            raise ValueError(f"{point.run} does not reach {point.goal_score:g} in its rows, as points.csv says")
        yield {
            "game": point.game,
            "goal_score": point.goal_score,
            "batch_observations": int(point.batch_observations),
            "seed": point.seed,
            "run": point.run,
            "optimizer_steps": float(f"{goal.optimizer_steps:.6g}"),
            "candidate": candidate,
            "noise_scale": _rounded(goal.noise_scale),
            "noise_scale_low": _rounded(goal.noise_scale_low),
            "noise_scale_high": _rounded(goal.noise_scale_high),
            "measurements": sum(
                row["noise/grad_sq"] is not None for row in own if row["optimizer_steps"] <= goal.optimizer_steps
            ),
        }


def blocks(rows: Sequence[Row]) -> Iterator[list[str]]:
    """Yields step, observations, score and mean moments of BLOCKS blocks of a run's rows, "" where not known."""
    for some in np.array_split(np.arange(len(rows)), min(BLOCKS, len(rows))):
        block = [rows[place] for place in some]
        last = block[-1]
        moments = []
        for key in ("noise/grad_sq", "noise/trace"):
            known = [row[key] for row in block if row.get(key) is not None]
            moments.append(f"{np.mean(known):.5g}" if known else "")
        score = last.get("score_mean")
        yield [
            f"{last['optimizer_steps']:g}",
            f"{last['observations']:g}",
            "" if score is None else f"{score:.5g}",
            *moments,
        ]


def _rounded(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.6g}")
