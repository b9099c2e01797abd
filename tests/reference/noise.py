"""Slow, obvious twins of `rlgns.noise`: one gradient per observation, sums written out, float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch


def observation_gradients(model: torch.nn.Module, losses: Callable[[int], torch.Tensor], count: int) -> np.ndarray:
    """[observations, parameters] float64: one autograd.grad call for the loss of each observation."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows: list[np.ndarray] = []
    for i in range(count):
        loss = losses(i)
        if not loss.requires_grad:  # PPO's clip: this observation pulls at nothing
            rows.append(np.zeros(sum(p.numel() for p in parameters)))
            continue
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
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


def slow_hessian(loss: Callable[[], torch.Tensor], parameters: list[torch.Tensor]) -> np.ndarray:
    """[parameters, parameters]: every second derivative, one entry of the gradient differentiated at a time."""
    gradients = torch.autograd.grad(loss(), parameters, create_graph=True)
    rows = []
    for entry in torch.cat([gradient.flatten() for gradient in gradients]):
        second = torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([part.flatten() for part in second]).numpy())
    return np.stack(rows)


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


def slow_two_batch(small: list[np.ndarray], big: np.ndarray, b: int, total: int) -> tuple[float, float]:
    """(grad_sq, trace) that solve E|g_n|^2 = |G|^2 + trace / n at n = b (mean over `small`) and n = total."""
    left = sum(float(np.dot(g, g)) for g in small) / len(small)
    grad_sq, trace = np.linalg.solve([[1.0, 1 / b], [1.0, 1 / total]], [left, float(np.dot(big, big))])
    return float(grad_sq), float(trace)


def slow_gpt_neox(steps: list[np.ndarray], batch: int) -> tuple[float, float]:
    """(grad_sq, trace) as GPT-NeoX gets them from one window of steps: a buffer that is summed, then the last alone."""
    buffer = np.zeros_like(steps[0])
    for gradient in steps:
        buffer = buffer + gradient
    return slow_two_batch([steps[-1]], buffer / len(steps), batch, batch * len(steps))


def slow_across_steps(steps: list[np.ndarray], batch: int) -> tuple[float, float]:
    """(grad_sq, trace) from inner products of neighbouring steps' gradients."""
    neighbours = [float(np.dot(first, second)) for first, second in itertools.pairwise(steps)]
    grad_sq = sum(neighbours) / len(neighbours)
    return grad_sq, batch * (sum(float(np.dot(g, g)) for g in steps) / len(steps) - grad_sq)


def slow_brute_force(rollouts: np.ndarray, steps: int) -> tuple[float, float]:
    """(grad_sq, trace) from mean gradients [sets, rounds, environments, parameters]: every pair of two sets."""
    sets = [[gradient for played in rollouts[s] for gradient in played] for s in range(len(rollouts))]
    products = [
        float(np.dot(a, b))
        for i, mine in enumerate(sets)
        for j, other in enumerate(sets)
        if i != j
        for a in mine
        for b in other
    ]
    grad_sq = sum(products) / len(products)
    squares = [float(np.dot(a, a)) for mine in sets for a in mine]
    return grad_sq, steps * (sum(squares) / len(squares) - grad_sq)
