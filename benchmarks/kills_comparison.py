"""Tests whether runs that were killed often end like uninterrupted runs."""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = Sequence[Mapping[str, Any]]
Array = npt.NDArray[np.float64]


def _mean(key: str) -> Callable[[Rows], float]:
    return lambda rows: statistics.fmean(row[key] for row in rows if row[key] is not None)


STATISTICS: dict[str, Callable[[Rows], float]] = {
    "score": _mean("score_mean"),
    "entropy": _mean("entropy"),
    "loss/value": _mean("loss/value"),
    "explained_variance": _mean("explained_variance"),
    "log grad_norm": lambda rows: math.log(_mean("grad_norm")(rows)),
    "log noise scale (sum of trace / sum of grad_sq)": lambda rows: math.log(
        max(1.0, _mean("noise/trace")(rows) / max(1e-12, _mean("noise/grad_sq")(rows)))
    ),
}
"""Computed over the last third of a run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Killed runs compared with uninterrupted ones."""

    lines: list[tuple[str, list[float], list[float], float]]
    """For each statistic: name, values of the killed runs, values of the others, and the distance of the killed runs'
    first third from the others' last third in standard deviations between seeds."""
    p: float
    """p-value over all statistics together."""
    found: float
    """Difference in one statistic, in standard deviations between seeds, that is detected with power 80 % at 5 %."""

    @property
    def differs(self) -> bool:
        """Whether the killed runs differ from the others, at 5 % over all statistics."""
        return self.p < 0.05


def same_distribution(killed: Sequence[Rows], others: Sequence[Rows]) -> Comparison:
    """Runs a permutation test of STATISTICS over the last third of the runs.

    Raises ValueError where there are too few runs to detect any difference.
    """
    theirs = np.array([[of(_last_third(rows)) for of in STATISTICS.values()] for rows in others])
    ours = np.array([[of(_last_third(rows)) for of in STATISTICS.values()] for rows in killed])
    first = np.array([[of(rows[: len(rows) // 3]) for of in STATISTICS.values()] for rows in killed])
    away = np.abs(first.mean(0) - theirs.mean(0)) / theirs.std(0, ddof=1)
    lines = [
        (name, ours[:, column].tolist(), theirs[:, column].tolist(), float(away[column]))
        for column, name in enumerate(STATISTICS)
    ]
    found = detectable(len(killed), len(others), columns=len(STATISTICS))
    return Comparison(lines=lines, p=permutation_p(ours, theirs), found=found)


def _last_third(rows: Rows) -> Rows:
    return rows[-(len(rows) // 3) :]


def permutation_p(ours: Array, theirs: Array) -> float:
    """Returns the share of all relabellings of the runs whose difference is at least as large as the real one.

    The difference is the largest over the columns of the difference of means, each in standard deviations over all
    runs. The test is exact for any distribution between seeds and any dependence of the columns, since runs are
    independent. Raises ValueError where even the clearest difference would not be below 5 %.
    """
    runs, count = np.concatenate([ours, theirs]), len(ours)
    ways = _ways(count, len(theirs))
    scaled = (runs - runs.mean(0)) / np.maximum(runs.std(0), 1e-12)
    largest = np.abs(ways @ scaled).max(1)
    return float((largest >= largest[0] * (1 - 1e-9)).mean())  # the first labelling is the real one


def enough(count: int, others: int) -> bool:
    """Returns whether the clearest difference between so many killed runs and others has a p-value below 5 %."""
    return math.comb(count + others, count) > 20


@functools.cache
def _ways(count: int, others: int) -> Array:
    """Returns a row of zeros and ones for every choice of killed runs; the real choice, the first runs, comes first."""
    if not enough(count, others):
        raise ValueError(f"{count} killed runs and {others} others: too few for a difference at 5 %")
    chosen = np.array(list(itertools.combinations(range(count + others), count)))
    ways = np.zeros((len(chosen), count + others))
    np.put_along_axis(ways, chosen, 1.0, axis=1)
    return ways


def detectable(count: int, others: int, *, columns: int, power: float = 0.8, draws: int = 400) -> float:
    """Returns the difference of one column, in standard deviations, detected at 5 % with this power, by simulation."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(draws, count + others, columns))
    for size in np.arange(0.5, 20, 0.25):
        shifted = noise.copy()
        shifted[:, :count, 0] += size
        if np.mean([permutation_p(runs[:count], runs[count:]) < 0.05 for runs in shifted]) >= power:
            return float(size)
    return math.inf
