"""Fit of the law E|g_B|^2 = |G|^2 + tr(Sigma) / B to squared gradient norms at several batch sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlgns.noise.moments import Rung


@dataclass(frozen=True, kw_only=True, slots=True)
class LadderFit:
    """The law through the rungs."""

    grad_sq: float
    """Intercept, |G|^2; may be negative."""

    trace: float
    """Slope in 1/B, tr(Sigma) per observation."""

    misfit: float
    """Root mean square of (rung - law) / rung; 0 with two rungs, which any law fits."""


def fit_ladder(rungs: Sequence[Rung]) -> LadderFit:
    """Weighted least squares of the rungs on 1/B, with relative errors (weights 1 / rung^2).

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
    residual = 1.0 - design @ coefficients
    return LadderFit(
        grad_sq=float(coefficients[0]),
        trace=float(coefficients[1] / inverse.max()),
        misfit=float(np.sqrt(np.mean(residual**2))),
    )
