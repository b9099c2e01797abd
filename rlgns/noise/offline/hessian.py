r"""The Hessian-weighted noise scale B_noise = tr(H Sigma) / G' H G, by Hessian-vector products.

B_simple weighs every direction alike; the loss does not. A step of size e along -g_B changes the loss by

    E dL = -e |G|^2 + e^2 / 2 (G' H G + tr(H Sigma) / B),     least at     e_opt(B) = e_max / (1 + B_noise / B)

with e_max = |G|^2 / G' H G (McCandlish et al. 2018, arXiv:1812.06162, equations 2.5 to 2.8). B_simple is the special
case H = 1. With groups' gradients g_k and their losses' Hessians H_k, for different i, j, k

    E g_i' H_k g_j = G' H G,         E g_i' H_k g_i = G' H G + tr(H Sigma) / b                b observations per group

so with K_ij = g_i' H g_j in place of the Gram matrix, `moments_from_gram` gives `grad_sq` = G' H G and `trace` =
tr(H Sigma), and NoiseScaleTracker their ratio with its interval.

**Independence.** All this needs H from observations that neither gradient has seen. A group's gradient and its own
Hessian come from the same observations and are correlated (where the curvature is large, so is the gradient), and
E g_k' H_k g_j is not G' H G. `cross_fitted` therefore takes H from one fold of the groups and gradients from all
others.

**Signs.** H need not be positive, least of all that of a policy's surrogate loss. Then G' H G or tr(H Sigma) may truly
be negative, no e_opt exists, and the ratio means nothing: `hessian_noise_scale` says NaN. Nothing is ever clamped.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from rlgns.noise.moments import Moments, mean_moments, moments_from_gram
from rlgns.noise.tracker import NoiseScaleEstimate

HessianProduct = Callable[[Sequence[int], Tensor], Tensor]
"""(groups, vectors [k, parameters]) -> [k, parameters]: the Hessian of those groups' mean loss times each vector."""


def hessian_vector_products(
    losses: Iterable[Callable[[], Tensor]], parameters: Sequence[Tensor], vectors: Tensor
) -> Tensor:
    """The mean Hessian of several losses times each of several vectors, by a backward pass through the gradient.

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
    """Moments whose `grad_sq` is G' H G and whose `trace` is tr(H Sigma) per observation.

    Args:
        gradients: [groups, parameters], independent of each other.
        products: [groups, parameters], one and the same Hessian times each of them. The result is unbiased where that
            Hessian comes from observations that none of the gradients has seen.
        observations_per_group: observations behind each gradient.

    Returns:
        The moments; of any sign; both NaN where something was not finite. Its ladder is the mean of g_B' H g_B by B.

    Raises:
        ValueError: shapes that differ, fewer than two groups, or a group without observations.
    """
    if gradients.shape != products.shape:
        raise ValueError(f"gradients and products must match, got {list(gradients.shape)} and {list(products.shape)}")
    with torch.no_grad(), torch.autocast(gradients.device.type, enabled=False):
        matrix = gradients.detach().double() @ products.detach().double().T
    quadratic = matrix.cpu().numpy()
    return moments_from_gram((quadratic + quadratic.T) / 2, observations_per_group)


def cross_fitted(
    gradients: Tensor, product: HessianProduct, observations_per_group: int, *, folds: int = 4, directions: int = 2
) -> Moments:
    """G' H G and tr(H Sigma) of one batch, unbiased: each fold's Hessian meets the gradients of all other folds.

    For each fold the other groups are merged into `directions` equal sets, whose mean gradients are multiplied by the
    fold's Hessian. In all that is as much as `directions` Hessian-vector products over the whole batch, whatever the
    number of folds: two is the cheap form. More directions make the trace more precise; G' H G, which decides, hardly
    (as |G|^2 hardly cares into how many groups a batch is split).

    Args:
        gradients: [groups, parameters], each the gradient of one group's mean loss.
        product: Hessian-vector products of chosen groups' mean loss at the same parameters.
        observations_per_group: observations in each group.
        folds: divides the number of groups; at least 2.
        directions: divides the number of groups outside a fold; at least 2.

    Returns:
        The mean over folds. Its groups are the sets, so it counts as fewer observations than it has seen, by the same
        factor in every batch; NaN where something was not finite.

    Raises:
        ValueError: folds or directions that do not divide the groups.
    """
    groups = len(gradients)
    if folds < 2 or groups % folds:
        raise ValueError(f"folds must be at least 2 and divide the {groups} groups, got {folds}")
    outside = groups - groups // folds
    if directions < 2 or outside % directions:
        raise ValueError(f"directions must be at least 2 and divide the {outside} groups outside a fold: {directions}")
    several = []
    for fold in np.arange(groups).reshape(folds, -1):
        others = np.setdiff1d(np.arange(groups), fold)
        merged = gradients[torch.from_numpy(others)].unflatten(0, (directions, -1)).mean(1)
        products = product(fold.tolist(), merged)
        several.append(hessian_moments(merged, products, observations_per_group * outside // directions))
    if not all(moments.is_finite for moments in several):
        return dataclasses.replace(several[0], grad_sq=math.nan, trace=math.nan, ladder=())
    return mean_moments(several)


def hessian_noise_scale(estimate: NoiseScaleEstimate) -> NoiseScaleEstimate:
    """What a tracker that was fed with `hessian_moments` may say of B_noise.

    Fieller's set takes the denominator for one that cannot be negative, which |G|^2 cannot but G' H G can. So a bound
    "at least X" holds only under the assumption G' H G > 0, and with G' H G not positive, or tr(H Sigma) not positive,
    there is nothing to say: noise scale and bounds are then NaN and infinite.
    """
    if estimate.grad_sq > 0 and estimate.trace > 0:
        return estimate
    return dataclasses.replace(estimate, noise_scale=math.nan, low=math.nan, high=math.inf, resolved=False)
