"""Figures of several seeds of one configuration: mean and band of the score and of the noise scale."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlgns import formatting
from rlgns.report.figure import BLUE, Figure, axes, estimate, log_axes
from rlgns.report.run_data import RunData

GRID = 200
"""Points per line."""

NOT_COMPARED = {"run": ("seed", "name"), "engine": None, "wandb": None}
"""Settings in which seeds of one configuration may differ; None: the whole section."""


def seed_groups(runs: Sequence[RunData]) -> list[list[RunData]]:
    """Returns the runs that differ in their seed alone, two or more each, in order of first appearance."""
    groups: dict[str, list[RunData]] = {}
    for run in runs:
        groups.setdefault(_configuration(run), []).append(run)
    return [group for group in groups.values() if len({_seed(run) for run in group}) == len(group) > 1]


def seeds_figures(runs: Sequence[RunData]) -> list[Figure]:
    """Returns the figures of every group of seeds; those with nothing to draw are left out."""
    found = []
    for number, group in enumerate(seed_groups(runs), start=1):
        game = str(group[0].about.get("game", group[0].label))
        for figure in (_score_figure(group, game, number), _noise_scale_figure(group, game, number)):
            found += [figure] if figure is not None else []
    return found


def over_seeds(
    runs: Sequence[RunData], key: str, *, where: str | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns observations, [points], and each run's values there by linear interpolation, [runs, points].

    Only where every run has a value: a mean over some of the runs would jump where one comes in or drops out. NaN
    next to a row whose entry `where` is not true.
    """
    series = []
    for run in runs:
        counts = [where is None or bool(row.get(where)) for row in run.rows]
        pairs = [(row["observations"], row.get(key), count) for row, count in zip(run.rows, counts, strict=True)]
        known = [(x, y if count else math.nan) for x, y, count in pairs if not count or _is_number(y)]
        if len(known) < 2:
            return np.empty(0), np.empty((len(runs), 0))
        series.append(np.array(known, np.float64).T)
    first, last = max(x[0] for x, _ in series), min(x[-1] for x, _ in series)
    if last <= first:
        return np.empty(0), np.empty((len(runs), 0))
    grid = np.linspace(first, last, GRID)
    return grid, np.array([np.interp(grid, x, y) for x, y in series])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _score_figure(runs: Sequence[RunData], game: str, number: int) -> Figure | None:
    grid, scores = over_seeds(runs, "score_mean")
    if not len(grid):
        return None
    mean, low, high = scores.mean(0), scores.min(0), scores.max(0)
    error = scores[:, -1].std(ddof=1) / math.sqrt(len(runs))
    sentence = (
        f"Mean score of {len(runs)} seeds and, as a band, the lowest and the highest of them. At "
        f"{formatting.count(grid[-1])} observations it is {formatting.score(mean[-1])}, with a standard error over "
        f"seeds of {formatting.rounded(error)}."
    )
    x, middle, least, most = (values.tolist() for values in (grid, mean, low, high))
    return Figure(
        name=f"seeds-{number}-score",
        title=f"{game}: score over {len(runs)} seeds",
        sentence=sentence,
        traces=estimate(x, middle, least, most, f"mean of {len(runs)} seeds", BLUE),
        layout=axes("observations", "score (raw)", until=x[-1]),
        header=("observations", "mean", "lowest", "highest"),
        table=list(zip(x, middle, least, most, strict=True)),
        height=300,
    )


def _noise_scale_figure(runs: Sequence[RunData], game: str, number: int) -> Figure | None:
    grid, scales = over_seeds(runs, "noise/scale", where="noise/resolved")
    positive: NDArray[np.bool_] = np.all(scales > 0, axis=0) if len(grid) else np.empty(0, bool)
    if not positive.any():
        return None
    part = slice(positive.argmax(), len(grid) - positive[::-1].argmax())
    grid, scales, positive = grid[part], scales[:, part], positive[part]
    known = scales[:, positive]
    mean, low, high = np.exp(np.log(known).mean(0)), known.min(0), known.max(0)
    last = formatting.count(grid[positive][-1])
    sentence = (
        f"Geometric mean of the noise scales of {len(runs)} seeds and, as a band, the lowest and the highest of them, "
        f"where all are resolved; unresolved ones are often larger. At {last} observations it is "
        f"{formatting.rounded(mean[-1])} ({formatting.rounded(low[-1])} to {formatting.rounded(high[-1])}). Each run's "
        "own interval is in its section."
    )
    x = grid.tolist()
    places = np.where(positive, np.cumsum(positive) - 1, -1)
    middle, least, most = (
        [None if place < 0 else float(values[place]) for place in places] for values in (mean, low, high)
    )
    traces = estimate(x, middle, least, most, f"mean of {len(runs)} seeds", BLUE)
    return Figure(
        name=f"seeds-{number}-noise-scale",
        title=f"{game}: noise scale over {len(runs)} seeds",
        sentence=sentence,
        traces=traces,
        layout=log_axes("observations", "observations", traces, until=x[-1]),
        header=("observations", "geometric_mean", "lowest", "highest"),
        table=list(zip(x, middle, least, most, strict=True)),
    )


def _configuration(run: RunData) -> str:
    """Returns game and configuration without what seeds may differ in, as text."""
    config = {}
    for section, values in run.config.items():
        skipped = NOT_COMPARED.get(section, ())
        if skipped is not None and isinstance(values, dict):
            config[section] = {key: value for key, value in values.items() if key not in skipped}
    return json.dumps([run.about.get("game"), config], sort_keys=True, default=str)


def _seed(run: RunData) -> str:
    section = run.config.get("run")
    return str(section.get("seed")) if isinstance(section, dict) else ""
