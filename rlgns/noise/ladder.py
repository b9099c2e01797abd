"""The ladder: squared gradient norms at several batch sizes, and the law E|g_B|^2 = |G|^2 + tr(Sigma) / B through them.

McCandlish et al. 2018, arXiv:1812.06162, appendix A.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """Mean squared gradient norm at one batch size: one step of the ladder."""

    batch_observations: int
    """Observations per merged gradient."""

    grad_sq_norm: float
    """Mean of |g_B|^2 over the merged gradients of this size; expected value |G|^2 + tr(Sigma) / B."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LadderFit:
    """The law through the rungs."""

    grad_sq: float
    """Intercept, |G|^2; may be negative."""

    trace: float
    """Slope in 1/B, tr(Sigma) per observation."""

    misfit: float
    """Largest |law(B) / rung - 1|: every rung follows the law to within this share. 0 with two rungs, which any law
    fits."""

    @property
    def noise_scale(self) -> float:
        """Returns trace / |G|^2 in observations; NaN where either is not positive."""
        return self.trace / self.grad_sq if self.grad_sq > 0 and self.trace > 0 else math.nan

    def law(self, batch_observations: float) -> float:
        """Returns E|g_B|^2 at B = `batch_observations`."""
        return self.grad_sq + self.trace / batch_observations


def ladder_of_gram(products: NDArray[np.float64], observations_per_group: int) -> tuple[Rung, ...]:
    """Returns the squared norms of the means of 1, 2, 4, ... neighbouring groups and of all groups, smallest first.

    Args:
        products: [groups, groups], inner products of the groups' gradients. Groups left over at a size are not used.
        observations_per_group: observations behind each row.
    """
    groups = products.shape[0]
    rungs = []
    for size in [2**k for k in range(groups.bit_length()) if 2**k < groups] + [groups]:
        merged = groups // size
        used = products[: merged * size, : merged * size].reshape(merged, size, merged, size)
        blocks = np.einsum("isit->i", used) / size**2
        rungs.append(Rung(batch_observations=observations_per_group * size, grad_sq_norm=float(blocks.mean())))
    return tuple(rungs)


def fit_ladder(rungs: Sequence[Rung]) -> LadderFit:
    """Fits the law by weighted least squares of the rungs on 1/B, on relative residuals (weights 1 / rung^2).

    Among exchangeable groups the law holds by construction: merging them gives |G|^2 + trace/B at every B, whatever the
    gradients are. A misfit is information only where merging is not exchangeable: along time (segments of T/4, T/2, T
    steps of one environment), between a shuffled split and one by environments, or over updates whose parameters
    differ.

    Args:
        rungs: at least two sizes, each the average over many updates.

    Returns:
        The fit; all NaN where there are fewer than two sizes or a rung is not positive and finite.
    """
    inverse = np.array([1.0 / rung.batch_observations for rung in rungs])
    norms = np.array([rung.grad_sq_norm for rung in rungs], dtype=np.float64)
    if len(set(inverse)) < 2 or not np.all(np.isfinite(norms) & (norms > 0)):
        return LadderFit(grad_sq=math.nan, trace=math.nan, misfit=math.nan)
    # Columns of order one: 1/B alone would be badly scaled against the intercept.
    design = np.stack([np.ones_like(inverse), inverse / inverse.max()], axis=1) / norms[:, None]
    coefficients, *_ = np.linalg.lstsq(design, np.ones_like(norms), rcond=None)
    return LadderFit(
        grad_sq=float(coefficients[0]),
        trace=float(coefficients[1] / inverse.max()),
        misfit=float(np.abs(1.0 - design @ coefficients).max()),
    )
