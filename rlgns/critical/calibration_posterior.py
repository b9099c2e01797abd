r"""A calibration from few goals with wide error bars: Bayesian, with the spread of another calibration as the prior.

    y = ln(critical batch / noise scale) = mu + game + goal + measurement        (calibration_fit.py)
    tau ~ half-normal(KIND_SD),   ln sigma ~ N(ln sigma of the other calibration, GOAL_LOG_SD^2)
    mu: flat with two games or more; with one, normal around the other calibration's, with its error and widening

Of a goal with a bound alone, "at least c", the likelihood is 1 above c and exp(-(y - c)^2 / (2 s^2)) below it. Leaving
such goals out would favour small critical batches. On a grid of tau, sigma and mu each game's mean is summed over. For
each pair (tau, sigma) a new game's goal has about a normal prediction, and the whole is their mixture, weighted by the
posterior of the pair (Gelman et al., Bayesian Data Analysis, 3rd edition, section 5.4).

By moments, three games with one goal each and error bars of 0.5 in ln give an interval of a factor of 350 (median), and
it covers 99 %. docs/notes/calibration.md has the coverage of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtr, stdtrit

from rlgns.critical.calibration import KIND_SD, Calibration, RatioFit
from rlgns.critical.calibration_ratios import NO_SCATTER, Scatter

Array = npt.NDArray[np.float64]

GOAL_LOG_SD = 0.5
"""Standard deviation of ln sigma in the prior: a factor of 2.7 each way with 95 %."""

SMALLEST_GOAL_SD = 0.1
"""Of the other calibration, in the prior: one of a single goal a game knows no spread between goals."""

LEVEL = 0.95
"""At which Student's t agrees with the mixture."""

SPACING, MOST_POINTS = 0.08, 800
"""Of the grid of mu: steps of SPACING, wider where MOST_POINTS do not reach."""

_TAU = np.exp(np.linspace(math.log(0.02), math.log(4), 16))
_SIGMA = np.exp(np.linspace(math.log(0.05), math.log(6), 16))


def posterior_fit(
    games: Sequence[tuple[Array, Array, Array]], nearest: Calibration, runs: Scatter = NO_SCATTER
) -> RatioFit:
    """Returns the fit to goals of a few games.

    Student's t stands for the mixture: its degrees of freedom give it the same kurtosis, and the four standard
    deviations, root mean squares over the posterior, are multiplied by one factor that gives the same 95 % interval.
    So they are scales of Student's t, some 13 % smaller than standard deviations.

    Args:
        games: For each, ln(critical batch / noise scale) of its goals, their known variances, and which are bounds
            (1: at least, -1: at most, 0: measured). One goal at least is measured.
        nearest: Another algorithm's calibration, widened.
        runs: rho, with its degrees of freedom.
    """
    measured = [bool((bound == 0).any()) for _, _, bound in games]
    prior_sq = nearest.log_ratio_sd**2 + nearest.widening_sd**2 if sum(measured) == 1 else math.inf
    mu = _grid(games, nearest, prior_sq)
    tau, sigma = _TAU[:, None, None], _SIGMA[None, :, None]
    log_weight = np.log(tau) - (tau / KIND_SD) ** 2 / 2 + np.zeros((1, len(_SIGMA), len(mu)))  # even in ln tau
    log_weight -= (np.log(sigma / max(nearest.goal_sd, SMALLEST_GOAL_SD)) / GOAL_LOG_SD) ** 2 / 2
    log_weight -= (mu - nearest.log_ratio) ** 2 / (2 * prior_sq)
    kernels = _kernels(mu)
    for y, known, bound in games:
        likelihood = _likelihood(mu, y, known, bound)  # [sigma, mean of the game]
        of_mu = (likelihood @ kernels).reshape(len(_SIGMA), len(_TAU), len(mu)).transpose(1, 0, 2)
        log_weight += np.log(np.maximum(of_mu, 1e-300))
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    pair = weight.sum(axis=2)  # of tau and sigma
    centre = (weight @ mu) / np.maximum(pair, 1e-300)
    spread_sq = np.maximum((weight @ mu**2) / np.maximum(pair, 1e-300) - centre**2, 0.0)
    middle = float((pair * centre).sum())
    run_sq = runs.draws()
    new_sq = (spread_sq + _TAU[:, None] ** 2 + _SIGMA**2)[..., None] + run_sq
    whole = np.repeat(pair[..., None], len(run_sq), axis=2) / len(run_sq)
    half = _half_width(
        whole.ravel(), np.broadcast_to((centre - middle)[..., None], whole.shape).ravel(), np.sqrt(new_sq).ravel()
    )
    parts = (
        float((pair * (spread_sq + (centre - middle) ** 2)).sum()),
        float(pair.sum(axis=1) @ _TAU**2),
        float(pair.sum(axis=0) @ _SIGMA**2),
        float(run_sq.mean()),
    )
    variance = sum(parts)
    freedom = 4 + 2 * variance**2 / max(1e-12, float((whole * (new_sq - (whole * new_sq).sum()) ** 2).sum()))
    scale = half / (float(stdtrit(freedom, 0.5 + LEVEL / 2)) * math.sqrt(variance))
    log_ratio_sd, game_sd, goal_sd, run = (scale * math.sqrt(part) for part in parts)
    return RatioFit(
        games=sum(measured),
        goals=sum(int((bound == 0).sum()) for _, _, bound in games),
        log_ratio=middle,
        log_ratio_sd=log_ratio_sd,
        game_sd=game_sd,
        goal_sd=goal_sd,
        run_sd=run,
        degrees_of_freedom=freedom,
    )


def _grid(games: Sequence[tuple[Array, Array, Array]], nearest: Calibration, prior_sq: float) -> Array:
    """Values of mu and of the games' means, far enough for what the measured goals leave open."""
    y, known = (np.concatenate([game[part][game[2] == 0] for game in games]) for part in (0, 1))
    precision = 1 / (known + nearest.goal_sd**2 + KIND_SD**2)
    total = float(precision.sum()) + 1 / prior_sq
    middle, sd = (float(precision @ y) + nearest.log_ratio / prior_sq) / total, total**-0.5
    beyond = np.concatenate([game[0][(game[2] != 0) & (game[1] < 1)] for game in games])
    ends = [*y[known < 1], *beyond, middle]
    low, high = min(ends) - 3 - 6 * sd, max(ends) + 3 + 6 * sd
    return np.linspace(low, high, min(MOST_POINTS, 1 + math.ceil((high - low) / SPACING)))


def _kernels(mu: Array) -> Array:
    """Probability of a game's mean on the grid: [mean of the game, tau x mu]."""
    step = np.arange(1 - len(mu), len(mu))
    density = np.exp(-(((mu[1] - mu[0]) * step / _TAU[:, None]) ** 2) / 2)
    density /= density.sum(axis=1, keepdims=True)
    places = np.arange(len(mu))
    return np.concatenate([one[places[:, None] - places + len(mu) - 1] for one in density], axis=1)


def _likelihood(mean: Array, y: Array, known: Array, bound: Array) -> Array:
    """Likelihood of a game's goals [sigma, mean of the game], relative to its largest value."""
    sigma = _SIGMA[:, None, None]
    sd = np.sqrt(sigma**2 + known)
    z = (y - mean[:, None]) / sd
    inside = log_ndtr(-bound * z * sd / sigma)  # where nothing contradicts the bound
    tail = -(z**2) / 2 + np.log(np.maximum(known, 1e-12) ** 0.5 / sd) + log_ndtr(bound * z * np.sqrt(known) / sigma)
    log = np.where(bound == 0, -(z**2) / 2 - np.log(sd), np.logaddexp(inside, tail)).sum(axis=2)
    return np.exp(log - log.max())


def _half_width(weight: Array, offset: Array, sd: Array) -> float:
    """Half of the interval around zero that holds LEVEL of a mixture of normal distributions."""

    def missing(half: float) -> float:
        return float(weight @ (ndtr((half - offset) / sd) - ndtr((-half - offset) / sd))) - LEVEL

    return float(brentq(missing, 0.0, float(np.max(np.abs(offset) + 10 * sd))))
