"""Losses and layers add up exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgns.noise import group_moments
from rlgns.noise.losses_and_layers import combined, cross_moments, products_by_layer


@given(
    losses=st.integers(1, 4),
    groups=st.integers(2, 6),
    layers=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_the_whole_is_the_bilinear_combination(losses: int, groups: int, layers: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, weights = rng.normal(size=(losses, groups, sum(layers))), rng.normal(size=losses)
    products = products_by_layer(torch.from_numpy(rows), layers).numpy()
    whole = group_moments(np.einsum("l,lgp->gp", weights, rows), observations_per_group=5)
    parts = cross_moments(products.sum(0), 5)
    pairs = [(weights[i] * weights[j], parts[i][j]) for i in range(losses) for j in range(losses)]
    largest = max(abs(weight * part.trace) + abs(weight * part.grad_sq) for weight, part in pairs)
    assert sum(weight * part.grad_sq for weight, part in pairs) == pytest.approx(whole.grad_sq, abs=1e-13 * largest)
    assert sum(weight * part.trace for weight, part in pairs) == pytest.approx(whole.trace, abs=1e-13 * largest)
    by_layer = [cross_moments(layer[None, None], 5)[0][0] for layer in (combined(p, weights) for p in products)]
    assert sum(layer.grad_sq for layer in by_layer) == pytest.approx(whole.grad_sq, abs=1e-13 * largest)
    assert sum(layer.trace for layer in by_layer) == pytest.approx(whole.trace, abs=1e-13 * largest)


def test_cross_terms_are_inner_products_and_cross_covariances() -> None:
    """Two losses that share a part of their noise and point partly the same way; 20,000 draws."""
    rng = np.random.default_rng(0)
    groups, size, draws = 4, 3, 20_000
    truth = np.array([3.0, 1.5, 0.0]), np.array([1.2, -0.6, 3.0])
    shared = rng.normal(size=(draws, groups, size))
    first = truth[0] + shared
    second = truth[1] + 0.6 * shared + rng.normal(size=(draws, groups, size))
    products = np.einsum("dgp,dhp->dgh", first, second)
    found = np.array([[m.grad_sq, m.trace] for m in (cross_moments(p[None, None], 7)[0][0] for p in products)])
    error = found.std(axis=0, ddof=1) / np.sqrt(draws)
    expected = np.array([truth[0] @ truth[1], 7 * 0.6 * size])
    assert np.all(np.abs(found.mean(axis=0) - expected) < 4 * error)
    assert np.all(np.abs(found.mean(axis=0) * 1.05 - expected) > 4 * error)  # power: 5 % would be seen


def test_layers_must_add_up() -> None:
    with pytest.raises(ValueError, match=r"layers of \[2, 2\] parameters do not add up to 5"):
        products_by_layer(torch.zeros(1, 2, 5), [2, 2])
