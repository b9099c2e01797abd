"""Noise at two levels against a twin that writes every pair out, and against a known truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from rlgns.noise.moments import group_moments
from rlgns.noise.nested import HalvedGroup, NestedMoments, nested_moments, noise_left

DRAWS, CLUSTERS, COMPLETIONS = 4000, 6, 4
TRUE, BETWEEN, WITHIN = np.array([0.6, 0.0, 0.0]), np.array([0.5, 1.0, 0.0]), np.array([0.0, 2.0, 1.5])


def moments_of(gradients: np.ndarray, counts: list[int], first: int) -> NestedMoments:
    """Of gradients [clusters, observations, parameters], `counts` clusters a group, by matrix products."""
    edges = np.cumsum([0, *counts])
    parts = [gradients[begin:end] for begin, end in itertools.pairwise(edges)]
    halves = [(part[:, :first].mean((0, 1)), part[:, first:].mean((0, 1))) for part in parts]
    whole = np.stack([part.mean((0, 1)) for part in parts])
    gram = whole @ whole.T
    groups = [
        HalvedGroup(clusters=count, first_sq=float(a @ a), second_sq=float(b @ b), halves=float(a @ b))
        for count, (a, b) in zip(counts, halves, strict=True)
    ]
    cross = float(gram.sum() - np.trace(gram))
    return nested_moments(groups, cross, first=first, per_cluster=gradients.shape[1])


def slow_nested(gradients: np.ndarray, first: int) -> tuple[float, float, float]:
    """(grad_sq, between, within), one cluster a group: mean inner products of observations, pair by pair."""
    other, same, itself = [], [], []
    for p, cluster in enumerate(gradients):
        for i, g in enumerate(cluster):
            itself.append(sum(x * x for x in g))
            for q, another in enumerate(gradients):
                for j, h in enumerate(another):
                    product = sum(x * y for x, y in zip(g, h, strict=True))
                    if p != q:
                        other.append(product)
                    elif i < first <= j:
                        same.append(product)
    grad_sq = sum(other) / len(other)
    between = sum(same) / len(same) - grad_sq
    # |h|^2 of both halves, written out by pairs of observations
    squares = 0.0
    for cluster in gradients:
        for half in (cluster[:first], cluster[first:]):
            squares += sum(float(g @ h) for g in half for h in half) / len(half) ** 2
    sizes = 1 / first + 1 / (gradients.shape[1] - first)
    within = (squares / len(gradients) - 2 * sum(same) / len(same)) / sizes
    return grad_sq, between, within


@pytest.mark.parametrize(("completions", "first"), [(4, 2), (5, 2), (2, 1)])
def test_moments_are_those_of_the_slow_twin(completions: int, first: int) -> None:
    gradients = np.random.default_rng(1).normal(size=(5, completions, 3)) + 0.3
    fast = moments_of(gradients, [1] * 5, first)
    assert (fast.grad_sq, fast.between, fast.within) == pytest.approx(slow_nested(gradients, first), rel=1e-12)


def draw(generator: np.random.Generator) -> np.ndarray:
    between = generator.normal(size=(CLUSTERS, 1, 3)) * BETWEEN
    return TRUE + between + generator.normal(size=(CLUSTERS, COMPLETIONS, 3)) * WITHIN


@pytest.fixture(scope="module")
def drawn() -> list[np.ndarray]:
    generator = np.random.default_rng(7)
    return [draw(generator) for _ in range(DRAWS)]


@pytest.mark.parametrize("counts", [[1] * 6, [2, 3, 1]])
def test_moments_are_unbiased_and_a_bias_is_seen(drawn: list[np.ndarray], counts: list[int]) -> None:
    """Known truth; for a fresh seed a false alarm has probability 2e-4. A twin 8 % too large must fail."""
    found = [moments_of(gradients, counts, 2) for gradients in drawn]
    truth = {"grad_sq": TRUE @ TRUE, "between": BETWEEN @ BETWEEN, "within": WITHIN @ WITHIN}
    truth["trace"] = COMPLETIONS * truth["between"] + truth["within"]
    for name, expected in truth.items():
        values = np.array([getattr(moments, name) for moments in found])
        error = values.std(ddof=1) / math.sqrt(DRAWS)
        assert abs(values.mean() - expected) < 4 * error, name
        if name in ("within", "trace") and counts == [1] * 6:
            assert abs(values.mean() * 1.08 - expected) > 4 * error, name


def test_a_shuffled_split_takes_noise_between_clusters_for_signal(drawn: list[np.ndarray]) -> None:
    """Each of three micro-batches has observations of most clusters, as where a host shuffles before it splits."""
    generator = np.random.default_rng(8)
    shuffled = []
    for gradients in drawn:
        rows = generator.permutation(gradients.reshape(-1, 3)).reshape(3, -1, 3).mean(1)
        shuffled.append(group_moments(rows, CLUSTERS * COMPLETIONS // 3))
    grad_sq = np.array([moments.grad_sq for moments in shuffled])
    trace = np.array([moments.trace for moments in shuffled])
    single = BETWEEN @ BETWEEN + WITHIN @ WITHIN
    effect = (COMPLETIONS * (BETWEEN @ BETWEEN) + WITHIN @ WITHIN) / single
    n = CLUSTERS * COMPLETIONS
    for values, expected in (
        (grad_sq, TRUE @ TRUE + single * (effect - 1) / (n - 1)),
        (trace, single * (n - effect) / (n - 1)),
    ):
        assert abs(values.mean() - expected) < 4 * values.std(ddof=1) / math.sqrt(DRAWS)
    true_trace = COMPLETIONS * (BETWEEN @ BETWEEN) + WITHIN @ WITHIN
    assert abs(trace.mean() - true_trace) > 20 * trace.std(ddof=1) / math.sqrt(DRAWS)


def test_ratios_and_what_is_left() -> None:
    moments = NestedMoments(grad_sq=2.0, between=4.0, within=24.0, per_cluster=6, clusters=5, groups=5)
    assert moments.trace == 48 and moments.moments().observations == 30
    assert moments.between_moments().trace / moments.between_moments().grad_sq == 2
    assert moments.within_moments().trace / moments.within_moments().grad_sq == 12
    share = moments.share_moments()
    assert share.trace / share.grad_sq == 0.5
    assert noise_left(0.5) == (4 + 24 / 12) / (4 + 24 / 6)
    assert noise_left(0.0) == 0.5 and noise_left(1.0) == 1.0


def test_too_little_is_named() -> None:
    group = HalvedGroup(clusters=1, first_sq=1.0, second_sq=1.0, halves=0.5)
    with pytest.raises(ValueError, match="at least 2 groups of clusters, got 1"):
        nested_moments([group], 0.0, first=1, per_cluster=2)
    with pytest.raises(ValueError, match="at least 2 observations, got halves of 0 and 1"):
        nested_moments([group, group], 0.0, first=0, per_cluster=1)
