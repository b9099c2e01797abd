r"""A calibration from few goals with wide error bars: Bayesian, with the spread of another calibration as the prior.

    y = ln(critical batch / noise scale) = mu + game + goal + measurement        (calibration_fit.py)
    tau ~ half-normal(KIND_SD),   ln sigma ~ N(ln sigma of the other calibration, GOAL_LOG_SD^2)
    mu: flat with two games or more; with one, normal around the other calibration's, with its error and widening

For each pair (tau, sigma) of a grid mu has a normal posterior in closed form, and a new game's goal a normal
prediction. The whole prediction is their mixture, weighted by the posterior of the pair (Gelman et al., Bayesian Data
Analysis, 3rd edition, section 5.4).

By moments, three games with one goal each and error bars of 0.5 in ln give an interval of a factor of 350 (median), and
it covers 99 %. docs/notes/calibration.md has the coverage of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import ndtr, stdtrit

from rlgns.critical.calibration import KIND_SD, Calibration, RatioFit

Array = npt.NDArray[np.float64]

GOAL_LOG_SD = 0.5
"""Standard deviation of ln sigma in the prior: a factor of 2.7 each way with 95 %."""

SMALLEST_GOAL_SD = 0.1
"""Of the other calibration, in the prior: one of a single goal a game knows no spread between goals."""

LEVEL = 0.95
"""At which Student's t agrees with the mixture."""

_TAU = np.exp(np.linspace(math.log(0.02), math.log(4), 40))
_SIGMA = np.exp(np.linspace(math.log(0.05), math.log(6), 40))


def posterior_fit(games: Sequence[tuple[Array, Array]], nearest: Calibration) -> RatioFit:
    """Returns the fit to goals of a few games.

    Student's t stands for the mixture: its degrees of freedom give it the same kurtosis, and the three standard
    deviations, root mean squares over the posterior, are multiplied by one factor that gives the same 95 % interval.
    So they are scales of Student's t, some 13 % smaller than standard deviations.

    Args:
        games: For each, ln(critical batch / noise scale) of its goals, and their known variances.
        nearest: Another algorithm's calibration, widened.
    """
    tau, sigma = (grid.ravel() for grid in np.meshgrid(_TAU, _SIGMA, indexing="ij"))
    log_weight = np.log(tau) - (tau / KIND_SD) ** 2 / 2  # the grid is even in ln tau
    log_weight -= (np.log(sigma / max(nearest.goal_sd, SMALLEST_GOAL_SD)) / GOAL_LOG_SD) ** 2 / 2
    prior = 1 / math.hypot(nearest.log_ratio_sd, nearest.widening_sd) ** 2 if len(games) == 1 else 0.0
    precision = np.full_like(tau, prior)
    weighted, squares = precision * nearest.log_ratio, precision * nearest.log_ratio**2
    for y, known in games:
        goal_sq = sigma[:, None] ** 2 + known
        total = (1 / goal_sq).sum(axis=1)
        mean = (y / goal_sq).sum(axis=1) / total
        game_sq = tau**2 + 1 / total
        log_weight -= (np.log(goal_sq).sum(axis=1) + np.log(total) + np.log(game_sq)) / 2
        log_weight -= ((y - mean[:, None]) ** 2 / goal_sq).sum(axis=1) / 2
        precision, weighted, squares = precision + 1 / game_sq, weighted + mean / game_sq, squares + mean**2 / game_sq
    centre = weighted / precision
    log_weight -= (np.log(precision) + squares - weighted * centre) / 2
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    middle = float(weight @ centre)
    new_sq = tau**2 + sigma**2 + 1 / precision
    half = _half_width(weight, centre - middle, np.sqrt(new_sq))
    parts = weight @ np.stack([1 / precision + (centre - middle) ** 2, tau**2, sigma**2], axis=1)
    variance = float(parts.sum())
    freedom = 4 + 2 * variance**2 / max(1e-12, float(weight @ (new_sq - weight @ new_sq) ** 2))
    scale = half / (float(stdtrit(freedom, 0.5 + LEVEL / 2)) * math.sqrt(variance))
    log_ratio_sd, game_sd, goal_sd = (scale * math.sqrt(part) for part in parts)
    return RatioFit(
        games=len(games),
        goals=sum(len(y) for y, _ in games),
        log_ratio=middle,
        log_ratio_sd=log_ratio_sd,
        game_sd=game_sd,
        goal_sd=goal_sd,
        degrees_of_freedom=freedom,
    )


def _half_width(weight: Array, offset: Array, sd: Array) -> float:
    """Half of the interval around zero that holds LEVEL of a mixture of normal distributions."""

    def missing(half: float) -> float:
        return float(weight @ (ndtr((half - offset) / sd) - ndtr((-half - offset) / sd))) - LEVEL

    return float(brentq(missing, 0.0, float(np.max(np.abs(offset) + 10 * sd))))
