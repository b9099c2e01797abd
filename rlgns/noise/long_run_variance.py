r"""Covariance of weighted means of an autocorrelated, drifting stream, read from its blocks.

Block j has n_j observations, weight W_j in the mean (W their sum), and means x_j. Scaled to equal noise, y_j =
sqrt(n_j) x_j, the weighted mean is a . y with a_j = W_j / (W sqrt(n_j)). What matters is the noise of the stream's
*slow* components, which averaging does not remove. It is estimated from contrasts u . y, with vectors u that have the
length of a and

- vary as slowly as possible: u = a * (a combination of the first cosines over the run), so that autocorrelation affects
  them nearly as it affects the mean (Lazarus, Lewis, Stock, Watson 2018, "HAR Inference: Recommendations for Practice",
  Journal of Business & Economic Statistics 36, the equal-weighted cosine estimator);
- are orthogonal to each other and to a: for normal noise they are independent of the mean and have its variance, so the
  quantile is that of Student's t with one degree of freedom per contrast;
- are orthogonal to polynomials in time: a smooth drift of the truth is signal and does not count as noise.

In a short run "nearly" is not enough: the contrasts vary faster than the mean itself, so positive autocorrelation
raises their variance less. So the first autocorrelation rho of the blocks is measured (with the drift removed, and
corrected for the bias of that removal), and the variance is multiplied by the ratio of the variances that a first-order
autoregression with this rho has in a . y and in u . y,

    (sum_jk a_j a_k rho^|j-k|) / mean over u of (sum_jk u_j u_k rho^|j-k|),

where rho is positive. With uncorrelated blocks the factor is 1 to a few per cent; docs/notes/interval.md has measured
coverage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MIN_BLOCKS = 4
"""Fewest blocks from which the error of their mean can be estimated."""

MAX_CONTRASTS = 10
MAX_DRIFT_DEGREE = 5

MIN_BLOCKS_FOR_AUTOCORRELATION = 24
"""With fewer blocks the autocorrelation is too uncertain: the correction would mostly widen the interval."""

MAX_AUTOCORRELATION = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Covariance:
    """Covariance of weighted means."""

    matrix: Array
    """[quantities, quantities, ...streams]."""

    degrees_of_freedom: int
    """Contrasts behind it; 0 where there were too few blocks."""


def mean_covariance(observations: Array, weights: Array, means: Array) -> Covariance:
    """Returns the covariance of the weighted means of several quantities, autocorrelation included, drift excluded.

    Args:
        observations: [blocks], observations in each block, oldest first.
        weights: [blocks], weight of each block in the mean.
        means: [blocks, quantities, ...streams], mean of each block; streams share weights and are treated separately.

    Returns:
        The covariance; zeros with no degrees of freedom where there are fewer than MIN_BLOCKS blocks.
    """
    blocks = len(observations)
    if blocks < MIN_BLOCKS:
        return Covariance(matrix=np.zeros((means.shape[1], *means.shape[1:])), degrees_of_freedom=0)
    root = np.sqrt(observations)
    scaled = root.reshape(-1, *[1] * (means.ndim - 1)) * means
    mean_vector = weights / (weights.sum() * root)
    drift = _drift(observations)
    rows = _contrasts(mean_vector, drift)
    errors = np.tensordot(rows, scaled, axes=1) * np.linalg.norm(mean_vector)
    if blocks >= MIN_BLOCKS_FOR_AUTOCORRELATION:
        residual = scaled - np.tensordot(drift, np.tensordot(drift.T, scaled, axes=1), axes=1)
        errors *= np.sqrt(_inflation(_autocorrelation(residual, drift.shape[1]), mean_vector, rows))
    matrix = np.einsum("ci...,cj...->ij...", errors, errors) / len(rows)
    return Covariance(matrix=matrix, degrees_of_freedom=len(rows))


def _drift(observations: Array) -> Array:
    """Orthonormal columns [blocks, degree + 1] that span what polynomials in time look like in scaled blocks."""
    degree = min(MAX_DRIFT_DEGREE, len(observations) // 8)
    centre = observations.cumsum() - observations / 2
    time = 2 * centre / observations.sum() - 1
    columns, _ = np.linalg.qr(np.sqrt(observations)[:, None] * np.polynomial.legendre.legvander(time, degree))
    return columns


def _contrasts(mean_vector: Array, drift: Array) -> Array:
    """Orthonormal rows [contrasts, blocks]: slow under the mean's own weights, orthogonal to the mean and to drift."""
    blocks = len(mean_vector)
    share = mean_vector**2 / np.sum(mean_vector**2)
    # Time measured by each block's share of the mean's variance: spans that matter equally are equally long.
    clock = share.cumsum() - share / 2
    count = min(blocks, MAX_CONTRASTS + drift.shape[1] + 1)
    slow, _ = np.linalg.qr(mean_vector[:, None] * np.cos(np.pi * np.arange(count) * clock[:, None]))
    seen, _ = np.linalg.qr(np.column_stack([mean_vector, drift]))
    _, size, right = np.linalg.svd(seen.T @ slow, full_matrices=True)
    blind = right[np.sum(size > 1e-9 * size[0]) :]
    return (blind @ slow.T)[:MAX_CONTRASTS]


def _autocorrelation(residual: Array, removed: int) -> Array:
    """First autocorrelation of blocks [blocks, ...] from which `removed` trends were taken, not below zero.

    Taking k trends out of K blocks lowers it by about (k (1 + rho) + 2 rho) / K, which is solved for rho.
    """
    blocks = len(residual)
    power = np.maximum(np.sum(residual**2, axis=0), np.finfo(np.float64).tiny)
    measured = np.sum(residual[1:] * residual[:-1], axis=0) / power
    corrected: Array = np.clip((blocks * measured + removed) / (blocks - removed - 2), 0.0, MAX_AUTOCORRELATION)
    return corrected


def _inflation(rho: Array, mean_vector: Array, rows: Array) -> Array:
    """How much larger an autoregression's variance is in the mean than in the contrasts; 1 where rho is 0."""
    powers = rho[..., None] ** np.arange(len(mean_vector))
    unit = mean_vector / np.linalg.norm(mean_vector)
    in_mean = powers @ _lagged_products(unit[None])
    in_contrasts = powers @ _lagged_products(rows) / len(rows)
    result: Array = in_mean / in_contrasts
    return result


def _lagged_products(rows: Array) -> Array:
    """[lags]: sum over rows and over both signs of the lag of x_j x_(j + lag)."""
    width = rows.shape[1]
    sums = sum(np.correlate(row, row, mode="full")[width - 1 :] for row in rows)
    return np.asarray(sums) * np.where(np.arange(width) == 0, 1.0, 2.0)
