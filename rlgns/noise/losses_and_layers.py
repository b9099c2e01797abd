r"""Moments of a loss that is a weighted sum of losses, and of a network that is a list of layers.

With g_k = sum_l c_l g_k^l, group k's gradient of the whole loss from those of its losses, and K^{lm}_{jk} = <g_j^l,
g_k^m> the inner products between losses, everything is bilinear and exact, not only in expectation:

    K       = sum_{lm} c_l c_m K^{lm}
    grad_sq = sum_{lm} c_l c_m grad_sq^{lm}
    trace   = sum_{lm} c_l c_m trace^{lm}

The diagonal l = m is each loss alone. The cross terms show how far losses agree: grad_sq^{lm} is the inner product
of two true gradients, trace^{lm} the trace of the cross-covariance. Inner products are sums over parameters, so over
layers they add up as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from rlgns.gram import gram_on_device
from rlgns.noise.moments import Moments, moments_from_gram


def products_by_layer(
    rows: torch.Tensor,
    layer_sizes: Sequence[int],
    inner_products: Callable[[torch.Tensor], torch.Tensor] = gram_on_device,
) -> torch.Tensor:
    """Returns the inner products of all groups' gradients of all losses, by layer, on the device of the gradients.

    Args:
        rows: [losses, groups, parameters], each the gradient of one group's mean loss; layers one after the other.
        layer_sizes: parameters of each layer.
        inner_products: from [count, columns] to float64 [count, count]; default: torch's operations.

    Returns:
        Float64 [layers, losses, losses, groups, groups]: entry (., l, m, j, k) is <g_j of loss l, g_k of loss m>.

    Raises:
        ValueError: layers that do not add up to the parameters.
    """
    losses, groups, parameters = rows.shape
    if sum(layer_sizes) != parameters:
        raise ValueError(f"layers of {list(layer_sizes)} parameters do not add up to {parameters}")
    flat = rows.reshape(losses * groups, parameters)
    products = torch.stack([inner_products(part) for part in flat.split(list(layer_sizes), dim=1)])
    return products.reshape(-1, losses, groups, losses, groups).transpose(2, 3)


def combined(products: NDArray[np.float64], coefficients: Sequence[float]) -> NDArray[np.float64]:
    """Returns the inner products [groups, groups] of the weighted sum's gradients.

    Args:
        products: [losses, losses, groups, groups].
        coefficients: weight of each loss.
    """
    weights = np.asarray(coefficients, dtype=np.float64)
    result: NDArray[np.float64] = np.einsum("l,m,lmjk->jk", weights, weights, products)
    return result


def cross_moments(products: NDArray[np.float64], observations_per_group: int) -> list[list[Moments]]:
    """Returns the moments of every pair of losses, [losses][losses]; the diagonal is each loss alone.

    Off the diagonal `grad_sq` is an unbiased estimate of <G^l, G^m>, `trace` of tr Cov(g^l, g^m) per observation; both
    may be negative. Arguments as in `combined` and `moments_from_gram`, whose errors it raises.
    """
    return [[moments_from_gram(pair, observations_per_group) for pair in row] for row in products]
