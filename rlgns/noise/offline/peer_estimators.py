r"""How other tools estimate |G|^2 and tr(Sigma), as functions of inner products. For comparison.

Each function takes what its tool has and returns the tool's two moments before smoothing, nothing clamped. Ours is
`group_moments` (for the ride-along and the probe). B is the batch, b one group or rank, g_k its mean gradient.

All use McCandlish et al. 2018, arXiv:1812.06162, appendix A.1: E|g_B|^2 = |G|^2 + tr(Sigma) / B at two sizes. Where all
groups of a batch are used, any two sizes give the same estimator as ours. The tools differ in the gradients they use:
one small batch or all (variance), successive parameters or the same (bias), observations or environments (bias).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class MomentsEstimate(NamedTuple):
    """One measurement, before any smoothing; either may be negative."""

    grad_sq: float
    """Of |G|^2."""

    trace: float
    """Of tr(Sigma) per observation."""


def two_batch(*, small_sq_norm: float, big_sq_norm: float, small: float, big: float) -> MomentsEstimate:
    """Returns both moments from squared gradient norms at two batch sizes.

        grad_sq = (B |g_B|^2 - b |g_b|^2) / (B - b)
        trace   = (|g_b|^2 - |g_B|^2) / (1/b - 1/B)

    Unbiased if both norms are of independent observations at one parameter vector. McCandlish et al. 2018, appendix
    A.1.

    Args:
        small_sq_norm: |g_b|^2, or a mean of several.
        big_sq_norm: |g_B|^2.
        small: b, observations.
        big: B, observations, more than b.

    Raises:
        ValueError: Sizes that are not 0 < b < B.
    """
    if not 0 < small < big:
        raise ValueError(f"the small batch must be positive and smaller than the big one, got {small} and {big}")
    return MomentsEstimate(
        grad_sq=(big * big_sq_norm - small * small_sq_norm) / (big - small),
        trace=(small_sq_norm - big_sq_norm) / (1 / small - 1 / big),
    )


def one_small_batch(products: Array, observations_per_group: int) -> MomentsEstimate:
    """Two-batch with only the last group as the small batch: KungFu, and GPT-NeoX if its parameters did not move.

    Unbiased, but one group's squared norm stands for all. For normal noise much larger than G, Var(trace) is M + 1
    times and Var(grad_sq) twice that of all M groups, and the two errors add up in the ratio.

    Args:
        products: [groups, groups], inner products of the groups' gradients at one parameter vector.
        observations_per_group: b.

    Raises:
        ValueError: Fewer than two groups.
    """
    return two_batch(
        small_sq_norm=float(products[-1, -1]),
        big_sq_norm=float(products.mean()),
        small=observations_per_group,
        big=observations_per_group * len(products),
    )


def k_diffusion(products: Array, observations_per_group: int, ranks: int = 2) -> MomentsEstimate:
    """Two-batch with the mean over data-parallel ranks as the small batch (k-diffusion, k_diffusion/gns.py).

    With as many ranks as groups it is `group_moments`. k-diffusion replaces sums below 1e-8 by 1e-8; not done here.

    Args:
        products: [groups, groups], inner products of the groups' gradients at one parameter vector.
        observations_per_group: b.
        ranks: Ranks that share the groups equally; k-diffusion needs at least two.

    Raises:
        ValueError: Ranks that do not divide the groups, or fewer than two.
    """
    groups = len(products)
    if ranks < 2 or groups % ranks:
        raise ValueError(f"ranks must be at least 2 and divide the {groups} groups, got {ranks}")
    merged = products.reshape(ranks, groups // ranks, ranks, groups // ranks).mean(axis=(1, 3))
    return two_batch(
        small_sq_norm=float(np.trace(merged)) / ranks,
        big_sq_norm=float(merged.mean()),
        small=observations_per_group * groups // ranks,
        big=observations_per_group * groups,
    )


def gpt_neox(step_products: Array, batch_observations: int) -> MomentsEstimate:
    """Two-batch over optimizer steps: the last step's gradient is small, the mean over the steps big.

    Biased: every gradient is at different parameters. GPT-NeoX, megatron/gradient_noise_scale/gradient_noise_scale.py
    (n_batches steps; its moving averages, weight 0.99, are bias-corrected by the wrong power; not done here).

    Args:
        step_products: [steps, steps], inner products of successive steps' gradients.
        batch_observations: B of each step.

    Raises:
        ValueError: Fewer than two steps.
    """
    return one_small_batch(step_products, batch_observations)


def across_steps(step_products: Array, batch_observations: int) -> MomentsEstimate:
    """Moments from inner products of neighbouring steps' gradients (RLlib's unmerged pull request 4494 and others).

    Biased: with step size e, E <g_1, g_2> = |G|^2 - e (G'HG + tr(H Sigma) / B), zero at the best step size.

    Args:
        step_products: [steps, steps], inner products of successive steps' gradients.
        batch_observations: B of each step.

    Raises:
        ValueError: Fewer than two steps.
    """
    if len(step_products) < 2:
        raise ValueError(f"gradients across steps need at least 2 steps, got {len(step_products)}")
    grad_sq = float(np.diagonal(step_products, offset=1).mean())
    return MomentsEstimate(
        grad_sq=grad_sq, trace=batch_observations * (float(np.diagonal(step_products).mean()) - grad_sq)
    )


def per_example(mean_sq_norm: float, batch_sq_norm: float, batch_observations: int) -> MomentsEstimate:
    """Two-batch with single observations as the small batch (nanoGNS, Gray et al. 2024, arXiv:2411.00999).

    Biased where observations of one environment are correlated: it is the limit of a shuffled split.

    Args:
        mean_sq_norm: Mean of |g_i|^2 over observations.
        batch_sq_norm: |g_B|^2.
        batch_observations: B.

    Raises:
        ValueError: A batch of fewer than two observations.
    """
    return two_batch(small_sq_norm=mean_sq_norm, big_sq_norm=batch_sq_norm, small=1, big=batch_observations)
