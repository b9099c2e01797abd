"""Slow, obvious twins of what the packages compute fast: plain loops in float64, no cleverness."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

# ---- noise: one gradient per observation, sums written out ---------------------------------------------------------


def observation_gradients(model: torch.nn.Module, losses: Callable[[int], torch.Tensor], count: int) -> np.ndarray:
    """[observations, parameters] float64: one autograd.grad call for the loss of each observation."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for i in range(count):
        gradients = torch.autograd.grad(losses(i), parameters, allow_unused=True)
        flat = [
            (torch.zeros_like(p) if g is None else g).double().flatten()
            for p, g in zip(parameters, gradients, strict=True)
        ]
        rows.append(torch.cat(flat).numpy())
    return np.stack(rows)


def slow_moments(groups: list[np.ndarray]) -> tuple[float, float]:
    """(grad_sq, trace) of groups of per-observation gradients [observations, parameters], all of one size.

    grad_sq by its definition, the mean inner product of the means of two different groups; trace as the
    sample variance of the group means times the observations in a group.
    """
    means = []
    for group in groups:
        total = np.zeros(group.shape[1])
        for row in group:
            total = total + row
        means.append(total / len(group))
    products = [float(np.dot(a, b)) for i, a in enumerate(means) for j, b in enumerate(means) if i != j]
    centre = sum(means) / len(means)
    spread = [float(np.sum((mean - centre) ** 2)) for mean in means]
    return sum(products) / len(products), len(groups[0]) * sum(spread) / (len(means) - 1)


def slow_decayed_means(
    values: list[list[float]], observations: list[int], horizon: float | None
) -> tuple[list[float], float]:
    """Weighted means of several quantities and the sum of weights, every weight written out from its age."""
    weights = []
    for i in range(len(observations)):
        age = sum(observations[i + 1 :])
        weights.append(observations[i] * (1.0 if horizon is None else math.exp(-age / horizon)))
    means = []
    for column in range(len(values[0])):
        means.append(sum(w * value[column] for w, value in zip(weights, values, strict=True)) / sum(weights))
    return means, sum(weights)


def slow_fieller(
    numerator: float, denominator: float, covariance: np.ndarray, quantile: float, candidates: np.ndarray
) -> np.ndarray:
    """Which of the candidate ratios Fieller's test accepts, one after the other."""
    accepted = []
    for ratio in candidates:
        difference = numerator - ratio * denominator
        variance = covariance[0, 0] - 2 * ratio * covariance[0, 1] + ratio**2 * covariance[1, 1]
        accepted.append(difference**2 <= quantile**2 * variance)
    return np.array(accepted)
