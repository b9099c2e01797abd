r"""Covariance of weighted means of an autocorrelated, drifting stream, read from its blocks.

Block j has n_j observations, weight W_j in the mean (W their sum), and means x_j. Scaled to equal noise, y_j =
sqrt(n_j) x_j, the weighted mean is a . y with a_j = W_j / (W sqrt(n_j)). What matters is the noise of the stream's
*slow* components, those that averaging does not remove. It is read from contrasts u . y, vectors of the length of a
that

- vary as slowly as can be: u = a * (a combination of the first cosines over the run), so that autocorrelation is in
  them nearly as it is in the mean (Lazarus, Lewis, Stock, Watson 2018, "HAR Inference: Recommendations for Practice",
  Journal of Business & Economic Statistics 36, the equal-weighted cosine estimator);
- are orthogonal to each other and to a: under normal noise independent of the mean, each with its variance, so that
  Student's t with as many degrees of freedom as there are contrasts is the quantile;
- are orthogonal to polynomials in time: a smooth drift of the truth, which is signal, does not count as noise.

"Nearly" is not enough in a short run: the contrasts are faster than the mean itself, and see less of a positive
autocorrelation. So the first autocorrelation rho of the blocks is measured (drift removed, corrected for what the
removal takes from it), and the variance is multiplied by what a first-order autoregression with that rho has in a . y
over what it has in u . y,

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
"""Fewest blocks that say anything of the error of their mean."""

MAX_CONTRASTS = 10
MAX_DRIFT_DEGREE = 5

MIN_BLOCKS_FOR_AUTOCORRELATION = 24
"""Fewer blocks show their autocorrelation too badly: the correction would mostly widen."""

MAX_AUTOCORRELATION = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Covariance:
    """Covariance of weighted means."""

    matrix: Array
    """[quantities, quantities, ...streams]."""

    degrees_of_freedom: int
    """Contrasts behind it; 0 where there were too few blocks."""


def mean_covariance(observations: Array, weights: Array, means: Array) -> Covariance:
    """Covariance of the weighted means of several quantities, with autocorrelation in and smooth drift out.

    Args:
        observations: [blocks], observations in each block, oldest first.
        weights: [blocks], weight of each block in the mean.
        means: [blocks, quantities, ...streams], mean of each block; streams share weights and are treated apart.

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
    """Orthonormal rows [contrasts, blocks]: slow under the mean's own weights, blind to the mean and to drift."""
    blocks = len(mean_vector)
    share = mean_vector**2 / np.sum(mean_vector**2)
    # A clock that runs as the variance of the mean builds up: spans that matter equally are equally long.
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
