r"""Fits a calibration to goals whose critical batch and noise scale were both measured.

    y = ln(critical batch / noise scale) = mu + game + goal + measurement
    game ~ N(0, tau^2),  goal ~ N(0, sigma^2),  measurement ~ N(0, v), v known

By moments, with weights that are renewed until they agree with the variances: w = 1 / (sigma^2 + v) for a goal within
its game, b = 1 / (tau^2 + variance of the game's mean), summing to 1, for a game. With Q the weighted squares around
the means,

    E Q_goals = sum_g (W - W2 / W) sigma^2 + known part,      W = sum w, W2 = sum w^2 of a game
    E Q_games = (1 - sum b^2) tau^2 + sum b (1 - b) s_g^2,    s_g^2 = sum w^2 (sigma^2 + v) / W^2

The goal of a new game has the variance V = tau^2 + sigma^2 + Var(mu). With equal weights (k games, m goals each, v = 0)

    V = (1 + 1/k) S_games + (1 - 1/m) S_goals

S_games the sample variance of the games' means, S_goals that of goals within games: two independent positive parts
with k - 1 and k (m - 1) degrees of freedom, whose sum has Satterthwaite's (1946). tau^2 and sigma^2 by themselves are
set to 0 where they come out negative.

docs/notes/calibration.md has the choices and the coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rlgns.critical.calibration import FEWEST_GAMES, Calibration, RatioFit
from rlgns.critical.calibration_posterior import posterior_fit
from rlgns.critical.calibration_ratios import NO_SCATTER, Ratio, Scatter

Array = npt.NDArray[np.float64]

FEWEST_GOALS = 7
"""Of a fit by moments where there is a prior: variances of a few values that happen to agree come out near zero."""

SMALLEST_VARIANCE = 1e-12
"""Added in weights, for goals that agree exactly."""


def needs_prior(ratios: Sequence[Ratio]) -> bool:
    """Returns whether moments will not do: goals with error bars or bounds, few games, or few goals."""
    few = len(_names(ratios)) < FEWEST_GAMES or len(ratios) < FEWEST_GOALS
    return few or any(ratio.variance > 0 or ratio.bound for ratio in ratios)


def fit_ratios(ratios: Sequence[Ratio], *, nearest: Calibration | None = None, runs: Scatter = NO_SCATTER) -> RatioFit:
    """Fits ratios with another calibration as the prior, or without one by moments.

    Args:
        ratios: One for each game and goal. Moments leave bounds out.
        nearest: The prior: another algorithm's calibration, widened. `needs_prior` says where one is needed.
        runs: Of ln(noise scale) between runs to one goal, where noise scales are means over runs.

    Raises:
        ValueError: No ratio but bounds; or no other calibration, and too few games, bounds or scatter between runs.
    """
    measured = [ratio for ratio in ratios if not ratio.bound]
    if not measured:
        raise ValueError("no goal has both a critical batch and a noise scale with two-sided intervals")
    if nearest is not None:
        return posterior_fit(_by_game(ratios), nearest, runs)
    if len(measured) < len(ratios) or runs.sd > 0:
        raise ValueError("bounds and scatter between runs need another calibration as the prior")
    if len(_names(measured)) >= FEWEST_GAMES:
        return _fit_by_moments([(y, known) for y, known, _ in _by_game(measured)])
    names = _names(measured)
    raise ValueError(f"a calibration needs {FEWEST_GAMES} games, got {len(names)}: {', '.join(names)}")


def _fit_by_moments(games: list[tuple[Array, Array]]) -> RatioFit:
    count, goals = len(games), sum(len(y) for y, _ in games)
    goal_sq = game_sq = 1.0
    for _ in range(200):
        before = goal_sq, game_sq
        goal_sq, goal_mean_sq = _goal_variance(games, goal_sq)
        means, means_sq, shares_sq = _game_means(games, goal_sq)
        weights = 1 / (game_sq + means_sq + SMALLEST_VARIANCE)
        weights /= weights.sum()
        mean = float(weights @ means)
        together = float(weights @ weights)
        squares = float(weights @ (means - mean) ** 2)
        game_sq = max(0.0, (squares - float((weights * (1 - weights)) @ means_sq)) / (1 - together))
        if math.isclose(goal_sq, before[0], abs_tol=1e-9) and math.isclose(game_sq, before[1], abs_tol=1e-9):
            break
    mean_sq = float(weights**2 @ (game_sq + means_sq))
    of_games = (1 + together) / (1 - together)
    of_goals = 1 + float(weights**2 @ shares_sq) - of_games * float((weights * (1 - weights)) @ shares_sq)
    parts = (of_games * squares) ** 2 / (count - 1)
    if goals > count:
        parts += (of_goals * goal_mean_sq) ** 2 / (goals - count)
    total = game_sq + goal_sq + mean_sq
    freedom = total**2 / parts if parts > 0 else goals - 1
    return RatioFit(
        games=count,
        goals=goals,
        log_ratio=mean,
        log_ratio_sd=math.sqrt(mean_sq),
        game_sd=math.sqrt(game_sq),
        goal_sd=math.sqrt(goal_sq),
        run_sd=0.0,
        degrees_of_freedom=min(max(1.0, freedom), goals - 1.0),
    )


def _goal_variance(games: list[tuple[Array, Array]], goal_sq: float) -> tuple[float, float]:
    """sigma^2, and the mean square that holds the known variances too; 0 where no game has two goals."""
    squares = known = coefficient = 0.0
    for y, v in games:
        w = 1 / (goal_sq + v + SMALLEST_VARIANCE)
        squares += float(w @ (y - w @ y / w.sum()) ** 2)
        left = w - w**2 / w.sum()
        coefficient += float(left.sum())
        known += float(left @ v)
    if coefficient <= 0 or all(len(y) == 1 for y, _ in games):
        return 0.0, 0.0
    return max(0.0, (squares - known) / coefficient), squares / coefficient


def _game_means(games: list[tuple[Array, Array]], goal_sq: float) -> tuple[Array, Array, Array]:
    """Weighted mean of each game, its variance without tau^2, and what of it multiplies sigma^2."""
    rows = []
    for y, v in games:
        w = 1 / (goal_sq + v + SMALLEST_VARIANCE)
        w /= w.sum()
        rows.append((w @ y, w**2 @ (goal_sq + v), w @ w))
    means, variances, shares = np.array(rows).T
    return means, variances, shares


def _names(ratios: Sequence[Ratio]) -> list[str]:
    return list(dict.fromkeys(ratio.game for ratio in ratios))


def _by_game(ratios: Sequence[Ratio]) -> list[tuple[Array, Array, Array]]:
    """Log ratios, known variances and bounds of each game."""
    found = []
    for name in _names(ratios):
        mine = [ratio for ratio in ratios if ratio.game == name]
        y, known, bound = (np.array([getattr(r, key) for r in mine]) for key in ("log_ratio", "variance", "bound"))
        found.append((y, known, bound))
    return found
