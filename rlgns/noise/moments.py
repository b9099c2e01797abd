r"""Unbiased moments of one batch's gradient from the Gram matrix of its groups.

M groups of b observations each, g_k the gradient of group k's mean loss, all at one parameter vector and independent of
each other. With K = g g^T (the Gram matrix, [M, M]), D the mean of its diagonal and O the mean off its diagonal,

    grad_sq = O                      E = |G|^2         the mean over pairs j != k of <g_j, g_k>
    trace   = b (D - O)              E = tr(Sigma)     per observation

which are the textbook forms: with |g_mean|^2 = (D + (M - 1) O) / M,

    (M |g_mean|^2 - D) / (M - 1)           = (D + (M - 1) O - D) / (M - 1)                 = O
    b M (D - |g_mean|^2) / (M - 1)         = b (M D - D - (M - 1) O) / (M - 1)             = b (D - O)

but grad_sq takes no difference of two large numbers. grad_sq may be negative, and is never clamped; trace is a sample
variance, so it is negative only by rounding. McCandlish et al. 2018, arXiv:1812.06162, appendix A.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlgns.gram import gram_on_device
from rlgns.noise.ladder import Rung, ladder_of_gram


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Estimates of |G|^2 and tr(Sigma) from one batch, with the conditions they were measured under."""

    grad_sq: float
    """Unbiased estimate of |G|^2, the squared norm of the true gradient; may be negative."""

    trace: float
    """Unbiased estimate of tr(Sigma) per observation, with the group as the independent unit."""

    groups: int
    """Independent groups in the batch."""

    observations_per_group: int
    """Observations in each group."""

    ladder: tuple[Rung, ...] = ()
    """Squared norms at b, 2b, 4b, ... and the whole batch, smallest first."""

    @property
    def observations(self) -> int:
        """Observations in the batch."""
        return self.groups * self.observations_per_group

    @property
    def is_finite(self) -> bool:
        """False where a gradient was NaN or infinite: such moments must not be averaged."""
        return math.isfinite(self.grad_sq) and math.isfinite(self.trace)


def gram(gradients: torch.Tensor | NDArray[Any]) -> NDArray[np.float64]:
    """Returns the inner products of the groups' gradients.

    Sums over long runs of columns are float64 (`rlgns.gram`).

    Args:
        gradients: [groups, parameters], each row the gradient of one group's mean loss.

    Returns:
        Float64 [groups, groups].

    Raises:
        ValueError: `gradients` is not two-dimensional.
    """
    result: NDArray[np.float64] = gram_on_device(torch.as_tensor(gradients)).cpu().numpy()
    return result


def moments_from_gram(products: NDArray[np.float64], observations_per_group: int) -> Moments:
    """Returns the moments of one batch from the inner products of its groups' gradients.

    Args:
        products: [groups, groups], `gram` of the groups' gradients, or the sum of such matrices over parameter tensors.
        observations_per_group: observations behind each row, the same for all.

    Returns:
        The moments; both NaN where a gradient was not finite.

    Raises:
        ValueError: fewer than two groups, a matrix that is not square, or a group without observations.
    """
    products = np.asarray(products, dtype=np.float64)
    if products.ndim != 2 or products.shape[0] != products.shape[1]:
        raise ValueError(f"the Gram matrix must be square, got shape {list(products.shape)}")
    groups = products.shape[0]
    if groups < 2:
        raise ValueError(f"the noise scale needs at least 2 groups, got {groups}")
    if observations_per_group != int(observations_per_group) or observations_per_group < 1:
        raise ValueError(f"observations_per_group must be a positive whole number, got {observations_per_group}")
    b = int(observations_per_group)
    if not np.isfinite(products).all():
        return Moments(grad_sq=math.nan, trace=math.nan, groups=groups, observations_per_group=b)
    diagonal = float(np.trace(products)) / groups
    off_diagonal = float(products[~np.eye(groups, dtype=bool)].mean())
    return Moments(
        grad_sq=off_diagonal,
        trace=b * (diagonal - off_diagonal),
        groups=groups,
        observations_per_group=b,
        ladder=ladder_of_gram(products, b),
    )


def group_moments(gradients: torch.Tensor | NDArray[Any], observations_per_group: int) -> Moments:
    """Returns the moments of one batch from the mean gradients of its groups, all at one parameter vector.

    Args:
        gradients: [groups, parameters], float32 or float64, on any device.
        observations_per_group: observations behind each row.

    Returns:
        The moments; both NaN where a gradient was not finite.

    Raises:
        ValueError: fewer than two groups, wrong dimensions, or a group without observations.
    """
    return moments_from_gram(gram(gradients), observations_per_group)


def moments_from_sums(observations: Sequence[float], squared_norms: Sequence[float], off_diagonal: float) -> Moments:
    """Returns the moments of one batch whose groups may differ in size, from sums: no group's gradient has to be kept.

    With n_k observations in group k and N = sum n_k, the cross terms weighted by n_j n_k have the mean |G|^2, and the
    spread about the weighted mean g has E sum_k n_k |g_k - g|^2 = (M - 1) tr(Sigma):

        grad_sq = sum_{j != k} n_j n_k <g_j, g_k> / (N^2 - sum n_k^2)
        trace   = (sum n_k |g_k|^2 - N |g|^2) / (M - 1)

    Args:
        observations: [groups], n_k.
        squared_norms: [groups], |g_k|^2.
        off_diagonal: sum over ordered pairs j != k of n_j n_k <g_j, g_k>.

    Returns:
        The moments, `observations_per_group` the rounded mean; both NaN where a gradient was not finite.

    Raises:
        ValueError: fewer than two groups, or a group without observations.
    """
    sizes = np.array(observations, dtype=np.float64)
    norms = np.array(squared_norms, dtype=np.float64)
    groups = len(sizes)
    if groups < 2:
        raise ValueError(f"the noise scale needs at least 2 groups, got {groups}")
    if not np.all(sizes > 0):
        raise ValueError("every group needs observations")
    total = float(sizes.sum())
    b = max(1, round(total / groups))
    if not (np.isfinite(norms).all() and math.isfinite(off_diagonal)):
        return Moments(grad_sq=math.nan, trace=math.nan, groups=groups, observations_per_group=b)
    squares = float(np.sum(sizes**2 * norms))
    mean_sq = (squares + off_diagonal) / total**2
    return Moments(
        grad_sq=off_diagonal / float(total**2 - np.sum(sizes**2)),
        trace=(float(np.sum(sizes * norms)) - total * mean_sq) / (groups - 1),
        groups=groups,
        observations_per_group=b,
        ladder=(
            Rung(batch_observations=b, grad_sq_norm=float(norms.mean())),
            Rung(batch_observations=round(total), grad_sq_norm=mean_sq),
        ),
    )


def mean_moments(several: Sequence[Moments]) -> Moments:
    """Returns the mean moments of batches with the same split, e.g. of one iteration. For display, not for tracking.

    Raises:
        ValueError: nothing to average, or batches that were split differently.
    """
    if not several:
        raise ValueError("no moments to average")
    first = several[0]
    if any((m.groups, m.observations_per_group) != (first.groups, first.observations_per_group) for m in several):
        raise ValueError("moments of batches that were split differently cannot be averaged")
    finite = [m for m in several if m.is_finite]
    if not finite:
        return first
    rungs = zip(*(m.ladder for m in finite), strict=True)
    return Moments(
        grad_sq=sum(m.grad_sq for m in finite) / len(finite),
        trace=sum(m.trace for m in finite) / len(finite),
        groups=first.groups,
        observations_per_group=first.observations_per_group,
        ladder=tuple(
            Rung(
                batch_observations=same[0].batch_observations,
                grad_sq_norm=sum(rung.grad_sq_norm for rung in same) / len(finite),
            )
            for same in rungs
        ),
    )
