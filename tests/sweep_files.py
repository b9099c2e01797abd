"""A synthetic sweep on disk with a known trade-off per goal, in the layout of `rlgns sweep`."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from rlgns.critical.points import COLUMNS
from tests.rows import make_row, make_run

NOISE_OVER_CRITICAL = 2.5
TRUTH: Mapping[str, Mapping[float, tuple[float, float]]] = {
    "breakout": {2: (1400, 80), 10: (2900, 260), 50: (4000, 390)},
    "pong": {-19: (3900, 250), 0: (6700, 290)},
    "qbert": {300: (1200, 240), 1000: (2700, 900)},
}
"""S_min and B_crit, by game and score goal."""


def make_point(
    game: str, goal: float, batch: float, *, seed: int = 0, run: str = "", noise: float = 0.05, known: bool = True
) -> dict[str, Any]:
    """Returns one row of points.csv; `known`: whether the noise scale is resolved."""
    min_steps, critical = TRUTH[game][goal]
    draw = random.Random(f"{game} {goal} {batch} {seed}")
    steps = min_steps * (1 + critical / batch) * math.exp(draw.gauss(0, noise))
    scale = NOISE_OVER_CRITICAL * critical * math.exp(draw.gauss(0, 0.1))
    return {
        "game": game,
        "goal_score": goal,
        "batch_observations": batch,
        "optimizer_steps": round(steps),
        "observations": round(steps * batch),
        "learning_rate": 1e-3,
        "seed": seed,
        "seconds": round(steps * batch / 900, 1),
        "run": run,
        "noise_scale": scale if known else "",
        "noise_scale_low": scale * 0.8,
        "noise_scale_high": scale * 1.25 if known else "",
    }


def write_points(path: Path, points: Sequence[Mapping[str, Any]]) -> Path:
    """Writes these points as a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(points)
    return path


def make_sweep(
    path: Path,
    *,
    games: Sequence[str] = tuple(TRUTH),
    batches: Sequence[int] = (64, 128, 256, 512, 1024, 2048),
    seeds: int = 1,
    iterations: int = 40,
) -> Path:
    """Makes a sweep's folder: a run per game, batch size and seed, each of which reached every goal."""
    points = []
    (path / "runs").mkdir(parents=True)
    for game in games:
        for batch in batches:
            for seed in range(seeds):
                name = f"{game}-b{batch}-lr0.001-s{seed}"
                rows = [make_row(i, of=iterations, game=game, batch=batch, seed=seed) for i in range(1, iterations + 1)]
                make_run(path / "runs" / name, rows, game=game, seed=seed)
                points += [make_point(game, goal, batch, seed=seed, run=name) for goal in TRUTH[game]]
    write_points(path / "points.csv", points)
    plan = {"games": list(games), "batches": list(batches), "seeds": seeds}
    (path / "sweep.yaml").write_text(yaml.safe_dump(plan))
    return path
