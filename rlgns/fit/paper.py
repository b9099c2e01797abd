"""The paper's own numbers, which ship with rlgns in configs/paper: critical batches, noise scales, Table 1.

McCandlish, Kaplan, Amodei et al. 2018, arXiv:1812.06162; configs/paper/README.md says how they were read.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass

from rlgns.config.files import shipped_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperGoal:
    """What the paper's figures show for one score goal, in observations."""

    game: str
    goal_score: float
    critical_batch: float
    noise_scale: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperTask:
    """A row of Table 1. Ranges are their geometric middle; NaN where the paper gives nothing."""

    task: str
    unit: str
    critical_batch_start: float
    critical_batch_end: float
    noise_scale_start: float
    noise_scale_average: float
    bound: bool
    """Whether `critical_batch_end` is a lower bound (Dota 5v5: the batch that was in use, never measured)."""


def paper_goals() -> list[PaperGoal]:
    """Returns the drawn critical batch and noise scale of every goal of pareto_points.csv (figures 11 and 12)."""
    return [
        PaperGoal(
            game=row["game"],
            goal_score=float(row["goal_score"]),
            critical_batch=float(row["critical_batch_observations"]),
            noise_scale=float(row["noise_scale_observations"]),
        )
        for row in _rows("critical_batch_by_goal.csv")
    ]


def paper_tasks() -> list[PaperTask]:
    """Returns Table 1."""
    names = ("critical_batch_start", "critical_batch_end", "noise_scale_start", "noise_scale_average")
    return [
        PaperTask(
            task=row["task"],
            unit=row["unit"],
            bound=row["critical_batch_end"].startswith(">"),
            **{name: _middle(row[name]) for name in names},
        )
        for row in _rows("table1.csv")
    ]


def _middle(text: str) -> float:
    """A number, the geometric middle of a range '100-1000', the bound of '>8000000', NaN of nothing."""
    if not text:
        return math.nan
    ends = [float(end) for end in text.lstrip(">").split("-")]
    return ends[0] if len(ends) == 1 else math.sqrt(ends[0] * ends[1])


def _rows(name: str) -> list[dict[str, str]]:
    with (shipped_folder("paper") / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
