"""Statistics over games: interquartile mean and performance profiles, with stratified bootstrap intervals.

Agarwal, Schwarzer, Castro, Courville, Bellemare 2021, "Deep Reinforcement Learning at the Edge of the Statistical
Precipice", arXiv:2108.13264. Scores are human-normalised (`rlgns.envs.games.human_normalised`), one per game and seed.
The bootstrap redraws the seeds within each game; the games stay the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Scores = Mapping[str, Sequence[float]]
"""Game to the normalised scores of its seeds."""

TRIM = 0.25
"""Share of the runs at either end that the interquartile mean leaves out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreEstimate:
    """A number with its interval; the ends are NaN where every game has one seed only."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PerformanceProfile:
    """Share of runs that score more than each threshold, every game with the same weight; pointwise intervals."""

    thresholds: tuple[float, ...]
    share: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def iqm(scores: Scores, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> ScoreEstimate:
    """Returns the mean of the middle half of all runs of all games (Agarwal et al. 2021, section 4.3).

    Of n runs the floor(n / 4) lowest and as many highest are left out. A game with more seeds weighs more.

    Args:
        scores: game to the normalised scores of its seeds.
        level: confidence of the interval (percentile bootstrap).
        resamples: draws of the bootstrap.
        seed: of the draws.

    Raises:
        ValueError: no scores, a game without any, or a score that is not finite.
    """
    games = _checked(scores)
    draws = np.concatenate(_redrawn(games, resamples, seed), axis=1)
    low, high = _ends(_middle_mean(draws), games, level)
    return ScoreEstimate(value=float(_middle_mean(np.concatenate(games)[None])[0]), low=float(low), high=float(high))


def performance_profile(
    scores: Scores,
    thresholds: Sequence[float] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> PerformanceProfile:
    """Returns the share of runs above each threshold: the run-score distribution of Agarwal et al. 2021, equation 3.

    Args:
        scores: game to the normalised scores of its seeds.
        thresholds: normalised scores, ascending; None: 101 from 0, or the lowest score, to the highest.
        level: pointwise confidence.
        resamples: draws of the bootstrap.
        seed: of the draws.

    Raises:
        ValueError: as `iqm`.
    """
    games = _checked(scores)
    everything = np.concatenate(games)
    if thresholds is None:
        thresholds = np.linspace(min(0.0, float(everything.min())), float(everything.max()), 101).tolist()
    at = np.asarray(thresholds, dtype=np.float64)

    def shares(runs: Sequence[Array]) -> Array:
        """[..., thresholds] of one array [..., seeds] per game."""
        total = np.zeros((*runs[0].shape[:-1], len(at)))
        for of_game in runs:
            ranks = np.sort(of_game, axis=-1)
            total += np.mean(ranks[..., None] > at, axis=-2)
        return total / len(runs)

    low, high = _ends(shares(_redrawn(games, resamples, seed)), games, level)
    return PerformanceProfile(
        thresholds=tuple(at.tolist()),
        share=tuple(shares(games).tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
    )


def _checked(scores: Scores) -> list[Array]:
    if not scores:
        raise ValueError("need the scores of at least one game")
    games = []
    for game, values in scores.items():
        runs = np.asarray(values, dtype=np.float64)
        if runs.ndim != 1 or not len(runs) or not np.all(np.isfinite(runs)):
            raise ValueError(f"need at least one finite score per game, got {list(values)} for {game}")
        games.append(runs)
    return games


def _redrawn(games: Sequence[Array], resamples: int, seed: int) -> list[Array]:
    """[resamples, seeds] per game, drawn from its seeds with replacement."""
    rng = np.random.default_rng(seed)
    return [runs[rng.integers(len(runs), size=(resamples, len(runs)))] for runs in games]


def _middle_mean(runs: Array) -> Array:
    """Mean over the last axis [..., runs] without a quarter at either end."""
    cut = math.floor(TRIM * runs.shape[-1])
    middle: Array = np.sort(runs, axis=-1)[..., cut : runs.shape[-1] - cut].mean(axis=-1)
    return middle


def _ends(draws: Array, games: Sequence[Array], level: float) -> tuple[Array, Array]:
    """Percentile interval over the first axis; NaN where no game has a second seed to vary."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if all(len(runs) == 1 for runs in games):
        unknown = np.full(draws.shape[1:], np.nan)
        return unknown, unknown
    low, high = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return low, high
