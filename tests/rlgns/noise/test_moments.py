"""Moments of one batch: definition, algebra, precision and bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgns.noise import Moments, gram, group_moments, mean_moments, moments_from_gram, moments_from_sums
from tests.reference.noise import slow_moments

SHAPES = st.tuples(st.integers(2, 6), st.integers(1, 5), st.integers(1, 12), st.integers(0, 2**31))


def draw(groups: int, b: int, parameters: int, seed: int) -> np.ndarray:
    """[groups, b, parameters] per-observation gradients with a common mean."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(groups, b, parameters)) * rng.uniform(0.1, 3) + rng.normal(size=parameters)


@settings(max_examples=50, deadline=None)
@given(SHAPES)
def test_equals_the_slow_twin(shape: tuple[int, int, int, int]) -> None:
    observations = draw(*shape)
    moments = group_moments(observations.mean(axis=1), observations_per_group=shape[1])
    grad_sq, trace = slow_moments(list(observations))
    assert moments.grad_sq == pytest.approx(grad_sq, rel=1e-9, abs=1e-9)
    assert moments.trace == pytest.approx(trace, rel=1e-9, abs=1e-9)
    assert moments.observations == shape[0] * shape[1]


@settings(max_examples=50, deadline=None)
@given(SHAPES)
def test_equals_the_textbook_formulas(shape: tuple[int, int, int, int]) -> None:
    groups, b = shape[:2]
    gradients = draw(*shape).mean(axis=1)
    big = float(np.sum(gradients.mean(axis=0) ** 2))
    small = float(np.mean(np.sum(gradients**2, axis=1)))
    moments = group_moments(gradients, observations_per_group=b)
    assert moments.grad_sq == pytest.approx((groups * big - small) / (groups - 1), rel=1e-9, abs=1e-9)
    assert moments.trace == pytest.approx(b * groups * (small - big) / (groups - 1), rel=1e-9, abs=1e-9)
    assert moments.grad_sq == pytest.approx((groups * b * big - b * small) / (groups * b - b), rel=1e-9, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(SHAPES, st.floats(-8, 8))
def test_scaling_the_loss_scales_both_moments_by_its_square(shape: tuple[int, int, int, int], c: float) -> None:
    gradients = draw(*shape).mean(axis=1)
    plain = group_moments(gradients, observations_per_group=shape[1])
    scaled = group_moments(c * gradients, observations_per_group=shape[1])
    assert scaled.grad_sq == pytest.approx(c**2 * plain.grad_sq, rel=1e-9, abs=1e-9)
    assert scaled.trace == pytest.approx(c**2 * plain.trace, rel=1e-9, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(SHAPES, st.integers(2, 4))
def test_duplicated_observations_leave_grad_sq_and_multiply_the_trace(
    shape: tuple[int, int, int, int], copies: int
) -> None:
    observations = draw(*shape)
    plain = group_moments(observations.mean(axis=1), observations_per_group=shape[1])
    doubled = np.repeat(observations, copies, axis=1)
    more = group_moments(doubled.mean(axis=1), observations_per_group=copies * shape[1])
    assert more.grad_sq == pytest.approx(plain.grad_sq, rel=1e-9, abs=1e-9)
    assert more.trace == pytest.approx(copies * plain.trace, rel=1e-9, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(SHAPES)
def test_one_observation_per_group_is_the_per_sample_variance(shape: tuple[int, int, int, int]) -> None:
    observations = draw(*shape).reshape(-1, shape[2])
    moments = group_moments(observations, observations_per_group=1)
    assert moments.trace == pytest.approx(float(observations.var(axis=0, ddof=1).sum()), rel=1e-9, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.tuples(st.just(4), st.integers(1, 5), st.integers(1, 12), st.integers(0, 2**31)))
def test_merging_groups_in_pairs_changes_nothing_on_average(shape: tuple[int, int, int, int]) -> None:
    gradients = draw(*shape).mean(axis=1)
    plain = group_moments(gradients, observations_per_group=shape[1])
    merged = []
    for pairs in (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))):
        means = np.stack([gradients[list(pair)].mean(axis=0) for pair in pairs])
        merged.append(group_moments(means, observations_per_group=2 * shape[1]))
        # |g_mean|^2 = grad_sq + trace / n, however the batch is split
        whole = merged[-1].grad_sq + merged[-1].trace / merged[-1].observations
        assert whole == pytest.approx(plain.grad_sq + plain.trace / plain.observations, rel=1e-9, abs=1e-9)
    assert np.mean([m.grad_sq for m in merged]) == pytest.approx(plain.grad_sq, rel=1e-9, abs=1e-9)
    assert np.mean([m.trace for m in merged]) == pytest.approx(plain.trace, rel=1e-9, abs=1e-9)
    assert plain.ladder[1].grad_sq_norm == pytest.approx(merged[0].ladder[0].grad_sq_norm, rel=1e-9, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(SHAPES, st.floats(-8, 8))
def test_the_laws_hold_for_groups_of_different_sizes(shape: tuple[int, int, int, int], c: float) -> None:
    groups, b, parameters, seed = shape
    sizes = np.random.default_rng(seed).integers(1, b + 1, size=groups)
    means = draw(groups, 1, parameters, seed)[:, 0]

    def moments(rows: np.ndarray, n: np.ndarray) -> Moments:
        sums = n[:, None] * rows
        cross = float(np.sum(sums.sum(axis=0) ** 2) - np.sum(sums**2))
        return moments_from_sums(list(n), list(np.sum(rows**2, axis=1)), cross)

    plain, scaled, doubled = moments(means, sizes), moments(c * means, sizes), moments(means, 2 * sizes)
    assert scaled.grad_sq == pytest.approx(c**2 * plain.grad_sq, rel=1e-9, abs=1e-9)
    assert scaled.trace == pytest.approx(c**2 * plain.trace, rel=1e-9, abs=1e-9)
    assert doubled.grad_sq == pytest.approx(plain.grad_sq, rel=1e-9, abs=1e-9)
    assert doubled.trace == pytest.approx(2 * plain.trace, rel=1e-9, abs=1e-9)
    whole = float(np.sum((sizes @ means / sizes.sum()) ** 2))
    assert plain.ladder[-1].grad_sq_norm == pytest.approx(whole, rel=1e-9, abs=1e-9)


@settings(max_examples=50, deadline=None)
@given(SHAPES)
def test_the_order_of_groups_does_not_matter(shape: tuple[int, int, int, int]) -> None:
    gradients = draw(*shape).mean(axis=1)
    shuffled = np.random.default_rng(shape[3]).permutation(gradients)
    plain, other = (group_moments(g, observations_per_group=shape[1]) for g in (gradients, shuffled))
    assert other.grad_sq == pytest.approx(plain.grad_sq, rel=1e-9, abs=1e-9)
    assert other.trace == pytest.approx(plain.trace, rel=1e-9, abs=1e-9)
    assert other.ladder[0].grad_sq_norm == pytest.approx(plain.ladder[0].grad_sq_norm, rel=1e-9)
    assert other.ladder[-1].grad_sq_norm == pytest.approx(plain.ladder[-1].grad_sq_norm, rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(SHAPES)
def test_parts_of_the_parameters_add_up(shape: tuple[int, int, int, int]) -> None:
    gradients = draw(*shape).mean(axis=1)
    cut = shape[2] // 2
    whole = group_moments(gradients, observations_per_group=shape[1])
    parts = [group_moments(part, observations_per_group=shape[1]) for part in (gradients[:, :cut], gradients[:, cut:])]
    assert sum(p.grad_sq for p in parts) == pytest.approx(whole.grad_sq, rel=1e-9, abs=1e-9)
    assert sum(p.trace for p in parts) == pytest.approx(whole.trace, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_different_sizes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, 9, size=5)]
    means = rng.normal(size=(5, 7)) + 0.5
    cross = sum(sizes[j] * sizes[k] * float(means[j] @ means[k]) for j in range(5) for k in range(5) if j != k)
    moments = moments_from_sums(sizes, [float(m @ m) for m in means], cross)
    centre = sum(n * m for n, m in zip(sizes, means, strict=True)) / sum(sizes)
    spread = sum(n * float((m - centre) @ (m - centre)) for n, m in zip(sizes, means, strict=True))
    assert moments.trace == pytest.approx(spread / 4, rel=1e-9)
    assert moments.grad_sq == pytest.approx(cross / (sum(sizes) ** 2 - sum(n * n for n in sizes)), rel=1e-9)
    even = moments_from_sums(
        [4] * 5, [float(m @ m) for m in means], 16 * float((means @ means.T).sum() - (means**2).sum())
    )
    assert even.grad_sq == pytest.approx(group_moments(means, observations_per_group=4).grad_sq, rel=1e-9)
    assert even.trace == pytest.approx(group_moments(means, observations_per_group=4).trace, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gram_matrix_is_accurate_over_many_columns(dtype: torch.dtype) -> None:
    gradients = torch.randn(4, 300_001, generator=torch.Generator().manual_seed(0), dtype=dtype) + 0.01
    exact = gradients.double().numpy() @ gradients.double().numpy().T
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    assert np.abs(gram(gradients) - exact).max() < tolerance * exact[0, 0]


def test_neither_autocast_nor_a_lowered_matmul_precision_reaches_the_gram_matrix() -> None:
    gradients = torch.randn(4, 5000, generator=torch.Generator().manual_seed(0))
    plain = gram(gradients)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(gram(gradients), plain)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        np.testing.assert_allclose(gram(gradients), plain, rtol=0, atol=1e-6 * plain[0, 0])
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_flagged(bad: float) -> None:
    gradients = np.ones((3, 4))
    gradients[1, 2] = bad
    moments = group_moments(gradients, observations_per_group=2)
    assert not moments.is_finite
    assert math.isnan(moments.grad_sq)
    assert math.isnan(moments.trace)
    assert moments.ladder == ()


def test_zero_gradients_give_zero_moments() -> None:
    moments = group_moments(torch.zeros(4, 10), observations_per_group=2)
    assert (moments.grad_sq, moments.trace, moments.is_finite) == (0.0, 0.0, True)
    moments = moments_from_sums([2, 3], [0.0, 0.0], 0.0)
    assert (moments.grad_sq, moments.trace, moments.is_finite) == (0.0, 0.0, True)


def test_half_precision_is_widened_before_it_is_squared() -> None:
    gradients = torch.full((3, 5), 60_000.0, dtype=torch.float16)  # 65,504 is the largest
    moments = group_moments(gradients, observations_per_group=2)
    assert moments.grad_sq == pytest.approx(5 * float(gradients[0, 0]) ** 2)
    assert moments.trace == pytest.approx(0, abs=1e-6 * moments.grad_sq)
    assert not group_moments(gradients * 2, observations_per_group=2).is_finite, "infinite before it came here"


def test_squares_beyond_float32_are_flagged_and_not_wrong() -> None:
    gradients = torch.full((3, 5), 1e25)
    assert not group_moments(gradients, observations_per_group=2).is_finite
    assert group_moments(gradients.double(), observations_per_group=2).grad_sq == pytest.approx(5e50)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_sums_that_are_not_finite_are_flagged(bad: float) -> None:
    for moments in (moments_from_sums([2, 3], [1.0, bad], 1.0), moments_from_sums([2, 3], [1.0, 1.0], bad)):
        assert math.isnan(moments.grad_sq) and math.isnan(moments.trace)
        assert moments.ladder == ()


@pytest.mark.parametrize(("sizes", "words"), [([4], "at least 2 groups, got 1"), ([2, 0], "needs observations")])
def test_one_group_or_an_empty_one_is_no_batch(sizes: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        moments_from_sums(sizes, [1.0] * len(sizes), 1.0)


@pytest.mark.parametrize(
    ("gradients", "b", "words"),
    [
        (np.ones((1, 5)), 4, "at least 2 groups, got 1"),
        (np.ones((0, 5)), 4, "at least 2 groups, got 0"),
        (np.ones(5), 4, "1 dimensions"),
        (np.ones((2, 3, 4)), 4, "3 dimensions"),
        (np.ones((2, 5)), 0, "positive whole number, got 0"),
        (np.ones((2, 5)), -3, "positive whole number, got -3"),
        (np.ones((2, 5)), 2.5, "positive whole number, got 2.5"),
    ],
)
def test_bad_input_is_one_line(gradients: np.ndarray, b: int, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        group_moments(gradients, observations_per_group=b)
    assert "\n" not in str(caught.value)


def test_a_gram_matrix_must_be_square() -> None:
    with pytest.raises(ValueError, match="square"):
        moments_from_gram(np.ones((2, 3)), 4)


def test_mean_of_several_batches() -> None:
    several = [group_moments(batch, observations_per_group=3) for batch in draw(5, 4, 6, seed=4)]
    broken = group_moments(np.full((4, 2), np.nan), observations_per_group=3)
    mean = mean_moments([*several, broken])
    assert mean.grad_sq == pytest.approx(np.mean([m.grad_sq for m in several]))
    assert mean.trace == pytest.approx(np.mean([m.trace for m in several]))
    assert mean.ladder[1].grad_sq_norm == pytest.approx(np.mean([m.ladder[1].grad_sq_norm for m in several]))
    assert not mean_moments([broken]).is_finite
    with pytest.raises(ValueError, match="no moments"):
        mean_moments([])
    with pytest.raises(ValueError, match="split differently"):
        mean_moments([several[0], group_moments(np.ones((2, 2)), observations_per_group=3)])
