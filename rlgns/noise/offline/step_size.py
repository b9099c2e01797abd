r"""The best step size of a batch, and B_noise from it: arithmetic of a line search.

A step -e g_B along the gradient of a batch of B observations changes the loss on other observations by

    E dL(e) = -a e + c e^2 / 2,      a = |G|^2,      c = G' H G + tr(H Sigma) / B

where the loss is quadratic, so e_opt(B) = a / c = e_max / (1 + B_noise / B) (McCandlish et al. 2018,
arXiv:1812.06162, equations 2.5 to 2.8). dL / e is a straight line in e: slope c / 2, intercept -a. And c is a straight
line in 1 / B: B_noise is its slope over its intercept. Both fits are linear in the measured losses, so each repetition
gives an unbiased pair, and every ratio is a ratio of means with Fieller's interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlgns.noise.interval import Ratio
from rlgns.noise.moments import Moments
from rlgns.noise.offline.hessian import hessian_noise_scale
from rlgns.noise.tracker import NoiseScaleEstimate, NoiseScaleTracker

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepSizeFit:
    """Result of repeated line searches."""

    batch_observations: tuple[int, ...]
    best_step_sizes: tuple[Ratio, ...]
    """e_opt by batch size, each from the losses at that batch size."""
    curvatures: tuple[float, ...]
    """Mean c by batch size: the curvature of the loss along the batch's gradient, G' H G + tr(H Sigma) / B expected."""
    largest_step_size: Ratio
    """e_max, the best step size of an infinite batch, from the fit over batch sizes."""
    noise_scale: NoiseScaleEstimate
    """B_noise; its `grad_sq` is G' H G and its `trace` is tr(H Sigma)."""

    def predicted(self, batch: float) -> float:
        """Returns e_opt(B) of the fit; NaN where the curvature is not positive."""
        return self.largest_step_size.value / (1 + self.noise_scale.noise_scale / batch)


def slope_and_curvature(step_sizes: Array, changes: Array) -> tuple[Array, Array]:
    """Fits dL = -a e + c e^2 / 2 by least squares of dL / e.

    Args:
        step_sizes: [..., sizes], positive, at least two different ones.
        changes: [..., sizes], change of the loss after a step of each size.

    Returns:
        a and c, each [...].
    """
    line = changes / step_sizes
    centred = step_sizes - step_sizes.mean(-1, keepdims=True)
    slope = (centred * line).sum(-1) / (centred**2).sum(-1)
    return slope * step_sizes.mean(-1) - line.mean(-1), 2 * slope


def fit_step_sizes(batch_observations: Array, slopes: Array, curvatures: Array, *, level: float = 0.95) -> StepSizeFit:
    """Fits e_opt(B) = e_max / (1 + B_noise / B) to repeated line searches.

    The straight line of the curvatures in 1 / B weighs each batch size by its mean curvature to the power -2, since the
    scatter is proportional to it. e_max uses the slope of the largest batch, the least noisy estimate of |G|^2.

    Args:
        batch_observations: [batches], rising, at least two.
        slopes: [repetitions, batches], a of each line search.
        curvatures: [repetitions, batches], c of each.
        level: confidence of the intervals.
    """
    mean = curvatures.mean(0)
    weights = 1 / np.maximum(np.abs(mean), 1e-3 * np.abs(mean).max()) ** 2
    design = np.column_stack([np.ones(len(batch_observations)), 1 / batch_observations])
    solve = np.linalg.solve(design.T @ (weights[:, None] * design), design.T * weights)
    pairs = curvatures @ solve.T  # [repetitions, (G'HG, tr(H Sigma))]
    return StepSizeFit(
        batch_observations=tuple(int(batch) for batch in batch_observations),
        best_step_sizes=tuple(_ratio(slopes[:, i], curvatures[:, i], level) for i in range(len(batch_observations))),
        curvatures=tuple(float(c) for c in mean),
        largest_step_size=_ratio(slopes[:, -1], pairs[:, 0], level),
        noise_scale=hessian_noise_scale(_tracked(pairs[:, 1], pairs[:, 0]).estimate(level)),
    )


def _tracked(numerators: Array, denominators: Array) -> NoiseScaleTracker:
    tracker = NoiseScaleTracker()
    for numerator, denominator in zip(numerators, denominators, strict=True):
        moments = Moments(grad_sq=float(denominator), trace=float(numerator), groups=2, observations_per_group=1)
        tracker.update(moments)
    return tracker


def _ratio(numerators: Array, denominators: Array, level: float) -> Ratio:
    estimate = hessian_noise_scale(_tracked(numerators, denominators).estimate(level))
    return Ratio(value=estimate.noise_scale, low=estimate.low, high=estimate.high)
