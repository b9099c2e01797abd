r"""How far back to look: as short as the noise scale's drift asks, as long as its scatter asks.

r = |G|^2 / tr(Sigma) is the inverse of the noise scale. Block j of n_j observations has e_j = (G_j - r_0 S_j) / S, with
r_0 and S the ratio and the mean trace of all blocks: e_j estimates the difference of r in this block from r_0, whatever
the tails of G and S. The model is a random walk seen through noise, with steps in proportion to r:

    Cov(e_j, e_k) = sigma^2 (delta_jk T / n_j + kappa min(u_j, u_k)),      u_j = integral from now back to block j of
                                                                           (r / r now)^2 d(-log(1 - age / T))

with T the observations of all blocks. Ages are counted in the logarithm of the time since the start, because noise
scales grow as a power of the time, roughly: as much from 10,000 to 20,000 observations as from 100,000 to 200,000.
Steps of one size in r instead would expect large ones at the end too, after r fell a hundredfold early in the run. r
along the run is a local mean, squared and with its uncertainty added: where it is not known, steps are alike. The level
is free, sigma^2 has the prior 1 / sigma^2, and kappa a flat one on KAPPAS, with a weight for "no drift at all".

From the posterior follow, for each horizon H with its weights w ~ n exp(-age / H),

    noise = E[sigma^2] sum_j w_j^2 T / n_j             drift = E[sigma^2 kappa] sum_jk w_j w_k min(u_j, u_k)

drift is the expected squared difference of the mean of the last H from r now. The horizon is the one with the smallest
noise + CAUTION * drift: a drift that the data do not show yet costs coverage, one that they show wrongly costs width.
drift widens the interval of what holds now. docs/notes/horizon.md has measured coverage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlgns.noise.long_run_variance import MIN_BLOCKS

Array = NDArray[np.float64]

KAPPAS = np.concatenate([[0.0], np.geomspace(0.3, 3000, 9)])
"""Variance of the walk while the time since the start grows by a factor of e, against the variance of the mean."""

STILL = 5.0
"""Prior weight of no drift, against 1 for each other entry of KAPPAS."""

CAUTION = 2.0

LOCAL = 0.7
"""Half of the logarithm of time over which r is averaged to say how large steps are."""

SHARES = np.array([2, 1, 0.7, 0.5, 0.35, 0.25, 0.18, 0.125, 0.09, 0.0625, 0.044, 0.031])
"""Horizons to choose from, as shares of all observations, beside the longest."""

MIN_HORIZON_BLOCKS = 1.9
"""Blocks in the shortest horizon: fewer could not say how uncertain their mean is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Horizon:
    """How far back the means look."""

    observations: float
    """Observations after which a weight has fallen to 1/e; infinite: all weigh alike."""

    drift_variance: float
    """What drift adds to the variance of the mean |G|^2 as an estimate of the present one."""

    def weights(self, observations: Array, weights: Array, longest: float) -> Array:
        """Returns the weights [blocks] of blocks whose `weights` already decay with the horizon `longest`."""
        if self.observations >= longest:
            return weights
        return weights * np.exp(-_ages(observations) * (1 / self.observations - 1 / longest))


def choose_horizon(observations: Array, means: Array, longest: float) -> Horizon:
    """Returns the horizon that suits the blocks.

    Args:
        observations: [blocks], observations in each block, oldest first.
        means: [blocks, 2], mean grad_sq and trace of each.
        longest: horizon that is never exceeded, observations; may be infinite.

    Returns:
        `longest` without drift where there are fewer than MIN_BLOCKS blocks or nothing scatters.
    """
    still = Horizon(observations=longest, drift_variance=0.0)
    total = float(observations.sum())
    grad_sq, trace = observations @ means / total
    if len(observations) < MIN_BLOCKS or not trace > 0:
        return still
    errors = (means[:, 0] - grad_sq / trace * means[:, 1]) / trace
    ages = _ages(observations)
    clock = -np.log1p(-0.999 * ages / total)
    steps = clock - np.append(clock[1:], 0.0)  # from each block to the next, from the last to now
    walked = steps * _relative_size(observations, means, errors, clock)
    noise_scatter, walk_scatter = _scatter(errors, observations / total, walked)
    if not noise_scatter > 0:
        return still
    shares = SHARES[SHARES * len(observations) >= MIN_HORIZON_BLOCKS]
    choices = [longest, *(share * total for share in shares if share * total < longest)]
    best, least = still, math.inf
    for choice in choices:
        weights = observations * np.exp(-ages / choice)
        weights /= weights.sum()
        noise = noise_scatter * float(np.sum(weights**2 * total / observations))
        drift = walk_scatter * float(np.sum(walked * weights.cumsum() ** 2))
        if noise + CAUTION * drift < least:
            least = noise + CAUTION * drift
            best = Horizon(observations=float(choice), drift_variance=drift * float(trace) ** 2)
    return best


def _ages(observations: Array) -> Array:
    """[blocks]: observations from the middle of each block to now."""
    ages: Array = observations[::-1].cumsum()[::-1] - observations / 2
    return ages


def _relative_size(observations: Array, means: Array, errors: Array, clock: Array) -> Array:
    """[blocks]: how large the walk's squared steps are from each block to the next, relative to those now."""
    near = np.maximum(0, 1 - np.abs(clock[:, None] - clock) / LOCAL) * observations
    grad_sq, trace = (near @ means).T
    behind = near.sum(axis=1) ** 2 / (near**2 / observations).sum(axis=1)  # observations behind each local mean
    scatter = np.mean(np.diff(errors) ** 2 / (1 / observations[1:] + 1 / observations[:-1]))  # of one observation
    square = np.zeros_like(trace)  # blocks without any noise, between rare events, have no ratio
    np.divide(np.maximum(grad_sq, 0) ** 2, trace**2, out=square, where=trace > 0)
    square += scatter / behind.max()
    if not np.all(square > 0):
        return np.ones_like(square)
    between: Array = np.sqrt(square * np.append(square[1:], square[-1]))
    return between / between[-1]


def _scatter(errors: Array, shares: Array, walked: Array) -> tuple[float, float]:
    """Posterior means of sigma^2 and of sigma^2 kappa; zeros where nothing scatters.

    A Kalman filter for each kappa, side by side, in units of sigma^2; the first block sets the level.

    Args:
        errors: [blocks].
        shares: [blocks], of all observations; noise has the variance sigma^2 / share.
        walked: [blocks], the walk's variance from each block to the next for kappa = 1.
    """
    level, variance = np.full(len(KAPPAS), errors[0]), np.full(len(KAPPAS), 1 / shares[0])
    residual, log_determinant = np.zeros(len(KAPPAS)), np.zeros(len(KAPPAS))
    for error, share, step in zip(errors[1:], shares[1:], walked, strict=False):
        variance = variance + KAPPAS * step
        surprise, total = error - level, variance + 1 / share
        residual += surprise**2 / total
        log_determinant += np.log(total)
        level = level + surprise * variance / total
        variance = variance / share / total
    if not np.all(residual > 0):
        return 0.0, 0.0
    freedom = len(errors) - 1
    log_posterior = -0.5 * (log_determinant + freedom * np.log(residual))
    log_posterior += np.where(KAPPAS == 0, math.log(STILL), 0.0)
    posterior = np.exp(log_posterior - log_posterior.max())
    posterior *= residual / freedom / posterior.sum()
    return float(posterior.sum()), float(posterior @ KAPPAS)
