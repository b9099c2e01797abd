r"""The Hessian-weighted noise scale B_noise = tr(H Sigma) / G' H G, by Hessian-vector products.

B_simple weighs every direction alike; the loss does not. A step of size e along -g_B changes the loss by

    E dL = -e |G|^2 + e^2 / 2 (G' H G + tr(H Sigma) / B),     least at     e_opt(B) = e_max / (1 + B_noise / B)

with e_max = |G|^2 / G' H G (McCandlish et al. 2018, arXiv:1812.06162, equations 2.5 to 2.8). B_simple is the special
case H = 1. With groups' gradients g_k and their losses' Hessians H_k, for different i, j, k

    E g_i' H_k g_j = G' H G,         E g_i' H_k g_i = G' H G + tr(H Sigma) / b                b observations per group

so with K_ij = g_i' H g_j in place of the Gram matrix, `moments_from_gram` gives `grad_sq` = G' H G and `trace` =
tr(H Sigma), and NoiseScaleTracker their ratio with its interval.

**Independence.** All this needs H from observations that neither gradient has seen. A group's gradient and its own
Hessian come from the same observations and are correlated (where the curvature is large, so is the gradient), so that
E g_k' H_k g_j is not G' H G. Split a batch, and take the gradients from one part and H from the other.

**Signs.** H need not be positive, least of all that of a policy's surrogate loss. Then G' H G or tr(H Sigma) may truly
be negative, no e_opt exists and the ratio means nothing: `hessian_noise_scale` returns NaN. Nothing is ever clamped.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from rlgns.noise.moments import Moments, moments_from_gram
from rlgns.noise.tracker import NoiseScaleEstimate


def hessian_vector_products(
    losses: Iterable[Callable[[], Tensor]], parameters: Sequence[Tensor], vectors: Tensor
) -> Tensor:
    """Returns the mean Hessian of several losses times each vector, by a backward pass through the gradient.

    One forward and one backward pass per loss, and about two more backward passes per loss and vector. Only one loss's
    graph is held at a time. Nothing is accumulated into `.grad`. Run it in float32: products in bfloat16 have two or
    three digits, and G' H G is a sum that largely cancels.

    Args:
        losses: each called once, returns a scalar; all are weighed alike.
        parameters: require gradients; a parameter that the loss does not depend on counts as zero.
        vectors: [k, total parameters], flat in the order of `parameters`.

    Returns:
        [k, total parameters], detached.

    Raises:
        ValueError: no loss, or vectors of another length.
    """
    sizes = [parameter.numel() for parameter in parameters]
    if vectors.ndim != 2 or vectors.shape[1] != sum(sizes):
        raise ValueError(f"vectors must be [k, {sum(sizes)}], got {list(vectors.shape)}")
    total = torch.zeros_like(vectors)
    count = 0
    for loss in losses:
        count += 1
        with torch.enable_grad():
            gradients = torch.autograd.grad(loss(), parameters, create_graph=True, materialize_grads=True)
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        if not flat.requires_grad:  # a loss linear in the parameters: no curvature
            continue
        for row, vector in zip(total, vectors, strict=True):
            products = torch.autograd.grad(
                flat, parameters, grad_outputs=vector, retain_graph=True, materialize_grads=True
            )
            row += torch.cat([product.reshape(-1) for product in products])
    if not count:
        raise ValueError("no loss to differentiate")
    return total / count


def hessian_moments(gradients: Tensor, products: Tensor, observations_per_group: int) -> Moments:
    """Returns moments whose `grad_sq` is G' H G and whose `trace` is tr(H Sigma) per observation.

    Args:
        gradients: [groups, parameters], independent of each other.
        products: [groups, parameters], one and the same Hessian times each of them. The result is unbiased where that
            Hessian comes from observations that none of the gradients has seen.
        observations_per_group: observations behind each gradient.

    Returns:
        The moments, of any sign; both NaN where something was not finite. Their ladder is the mean of g_B' H g_B by B.

    Raises:
        ValueError: shapes that differ, fewer than two groups, or a group without observations.
    """
    if gradients.shape != products.shape:
        raise ValueError(f"gradients and products must match, got {list(gradients.shape)} and {list(products.shape)}")
    with torch.no_grad(), torch.autocast(gradients.device.type, enabled=False):
        matrix = gradients.detach().double() @ products.detach().double().T
    quadratic = matrix.cpu().numpy()
    return moments_from_gram((quadratic + quadratic.T) / 2, observations_per_group)


def hessian_noise_scale(estimate: NoiseScaleEstimate) -> NoiseScaleEstimate:
    """Returns B_noise from the estimate of a tracker that `hessian_moments` were given to.

    Fieller's set assumes a denominator that cannot be negative in expectation. That is true of |G|^2 but not of G' H G,
    so a bound "at least X" holds only if G' H G > 0. Where the measured G' H G or tr(H Sigma) is not positive, nothing
    is known: the noise scale and `low` are NaN, `high` is infinite.
    """
    if estimate.grad_sq > 0 and estimate.trace > 0:
        return estimate
    return dataclasses.replace(estimate, noise_scale=math.nan, low=math.nan, high=math.inf, resolved=False)
