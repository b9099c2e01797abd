"""The paper's measurements, read off its figures (configs/paper/README.md), to stand behind and beside one's own."""

from __future__ import annotations

import csv
import math
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from envs.games import find
from rlgns.errors import UserError
from rlgns.report.sweep_data import Reference


@cache
def references() -> Mapping[str, tuple[Reference, ...]]:
    """Returns critical batch and noise scale by goal, per ROM name, easy goals first."""
    found: dict[str, list[Reference]] = {}
    for row in _rows("critical_batch_by_goal.csv"):
        entry = Reference(
            goal_score=float(row["goal_score"]),
            critical_batch=float(row["critical_batch_observations"]),
            noise_scale=float(row["noise_scale_observations"]),
        )
        found.setdefault(find(row["game"]).name, []).append(entry)
    return {game: tuple(sorted(entries, key=lambda entry: entry.goal_score)) for game, entries in found.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRow:
    """One task of the paper's Table 1; sizes in its unit, the geometric middle where the paper gives a range."""

    name: str
    unit: str
    critical_batch: float
    """At the end of training."""
    noise_scale: float
    """Average over training."""
    is_bound: bool
    """Whether the critical batch is only a lower bound."""


@cache
def table1() -> tuple[TableRow, ...]:
    """Returns the paper's Table 1."""
    return tuple(
        TableRow(
            name=row["task"],
            unit=row["unit"],
            critical_batch=_middle(row["critical_batch_end"].lstrip(">")),
            noise_scale=_middle(row["noise_scale_average"]),
            is_bound=row["critical_batch_end"].startswith(">"),
        )
        for row in _rows("table1.csv")
    )


def _middle(cell: str) -> float:
    """A number, or the geometric middle of a range: '400-8000'."""
    ends = [float(part) for part in cell.split("-")]
    return math.exp(sum(map(math.log, ends)) / len(ends))


def _rows(name: str) -> list[dict[str, str]]:
    beside = Path(__file__).resolve().parents[2] / "configs" / "paper"
    installed = Path(sysconfig.get_path("data")) / "share" / "rlgns" / "configs" / "paper"
    for folder in (beside, installed):
        if (folder / name).is_file():
            with (folder / name).open(encoding="utf-8", newline="") as file:
                return list(csv.DictReader(file))
    raise UserError(f"no {name} in {beside} or {installed}; install rlgns again")
