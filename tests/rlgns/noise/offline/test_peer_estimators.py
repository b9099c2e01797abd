"""Other tools' estimators: equal to their slow twins, and at a known truth as good or as biased as theory says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlgns.noise import moments_from_gram, shuffled_noise_scale
from rlgns.noise.offline.peer_estimators import (
    MomentsEstimate,
    across_steps,
    gpt_neox,
    k_diffusion,
    one_small_batch,
    per_example,
    two_batch,
)
from tests.reference.noise import slow_across_steps, slow_gpt_neox, slow_moments, slow_two_batch

# ---- twins ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_the_slow_twins(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, b, parameters = 4, 3, 7
    observations = rng.normal(size=(groups, b, parameters)) + 0.3
    means = observations.mean(axis=1)
    products, whole = means @ means.T, means.mean(axis=0)
    n = groups * b
    assert one_small_batch(products, b) == pytest.approx(slow_two_batch([means[-1]], whole, b, n))
    halves = [means[:2].mean(axis=0), means[2:].mean(axis=0)]
    assert k_diffusion(products, b) == pytest.approx(slow_two_batch(halves, whole, 2 * b, n))
    assert gpt_neox(products, b) == pytest.approx(slow_gpt_neox(list(means), b))
    assert across_steps(products, b) == pytest.approx(slow_across_steps(list(means), b))
    rows = list(observations.reshape(n, parameters))
    single = float(np.mean([row @ row for row in rows]))
    assert per_example(single, float(whole @ whole), n) == pytest.approx(slow_two_batch(rows, whole, 1, n))


@pytest.mark.parametrize("seed", range(5))
def test_with_all_groups_two_sizes_are_our_estimator(seed: int) -> None:
    observations = np.random.default_rng(seed).normal(size=(6, 2, 5)) + 0.2
    means = observations.mean(axis=1)
    products = means @ means.T
    ours = moments_from_gram(products, 2)
    assert k_diffusion(products, 2, ranks=6) == pytest.approx((ours.grad_sq, ours.trace))
    assert k_diffusion(products, 2, ranks=6) == pytest.approx(slow_moments(list(observations)))


def test_refuses_what_it_cannot_estimate_from() -> None:
    with pytest.raises(ValueError, match="smaller than the big one, got 4 and 4"):
        two_batch(small_sq_norm=1.0, big_sq_norm=1.0, small=4, big=4)
    with pytest.raises(ValueError, match="divide the 4 groups, got 3"):
        k_diffusion(np.eye(4), 2, ranks=3)
    with pytest.raises(ValueError, match="at least 2 steps, got 1"):
        across_steps(np.eye(1), 2)
    with pytest.raises(ValueError, match="smaller than the big one, got 2 and 2"):
        gpt_neox(np.eye(1), 2)


# ---- known truth: 20,000 batches of Gaussian gradients ---------------------------------------------------------------

DRAWS, DIMENSION, GROUPS, B = 20_000, 10, 8, 4
GRAD_SQ, TRACE = 0.5, 10.0


def draw_products(seed: int, draws: int = DRAWS) -> np.ndarray:
    """[draws, groups, groups]; isotropic noise, TRACE per observation."""
    rng = np.random.default_rng(seed)
    mean = np.full(DIMENSION, math.sqrt(GRAD_SQ / DIMENSION))
    noise = rng.normal(size=(draws, GROUPS, DIMENSION)) * math.sqrt(TRACE / DIMENSION / B)
    return np.einsum("dip,djp->dij", mean + noise, mean + noise)


def errors_off(values: np.ndarray, truth: float) -> float:
    return abs(values.mean() - truth) / (values.std(ddof=1) / math.sqrt(len(values)))


def ours(products: np.ndarray, b: int) -> MomentsEstimate:
    moments = moments_from_gram(products, b)
    return MomentsEstimate(moments.grad_sq, moments.trace)


@pytest.fixture(scope="module")
def drawn() -> dict[str, np.ndarray]:
    """[draws, 2] by estimator, all from the same batches."""
    products = draw_products(seed=0)
    return {
        estimator.__name__: np.array([estimator(p, B) for p in products])
        for estimator in (ours, one_small_batch, k_diffusion)
    }


@pytest.mark.parametrize("name", ["ours", "one_small_batch", "k_diffusion"])
def test_split_at_one_parameter_vector_none_is_biased(drawn: dict[str, np.ndarray], name: str) -> None:
    assert errors_off(drawn[name][:, 0], GRAD_SQ) < 4
    assert errors_off(drawn[name][:, 1], TRACE) < 4
    assert errors_off(drawn[name][:, 1] * 1.05, TRACE) > 4  # power: a bias of 5 % is seen


def log_variance(values: np.ndarray) -> float:
    relative = values / [GRAD_SQ, TRACE]
    return float((relative[:, 1] - relative[:, 0]).var(ddof=1))


def test_two_batch_is_noisier_by_what_theory_says(drawn: dict[str, np.ndarray]) -> None:
    # Isotropic normal noise; docs/notes/estimators.md has the formulas. x = noise scale / batch, m groups.
    x, m = TRACE / GRAD_SQ / (GROUPS * B), GROUPS
    of_ours = (1 + x) ** 2 * m / (m - 1) - 1
    two_ranks = (1 + x) ** 2 * 2 - 1
    one_small = (1 + x) ** 2 * m / (m - 1) * (2 + 2 / (m * x)) - 1
    spreads = {name: log_variance(values) for name, values in drawn.items()}
    assert spreads["ours"] == pytest.approx(2 / DIMENSION * of_ours, rel=0.05)
    assert spreads["one_small_batch"] == pytest.approx(2 / DIMENSION * one_small, rel=0.05)
    assert spreads["k_diffusion"] == pytest.approx(2 / DIMENSION * two_ranks, rel=0.05)


def test_across_steps_misses_by_what_the_steps_move() -> None:
    # Loss 1/2 |theta|^2 with gradient theta + noise: H = 1, so E <g_1, g_2> = |G|^2 - e (|G|^2 + tr(Sigma) / B).
    rng = np.random.default_rng(1)
    batch, e = 32, 0.4
    theta = np.full((DRAWS, DIMENSION), math.sqrt(GRAD_SQ / DIMENSION))
    gradients = []
    for _ in range(2):
        gradients.append(theta + rng.normal(size=theta.shape) * math.sqrt(TRACE / DIMENSION / batch))
        theta = theta - e * gradients[-1]
    stacked = np.stack(gradients, axis=1)
    products = np.einsum("dip,djp->dij", stacked, stacked)
    expected = GRAD_SQ - e * (GRAD_SQ + TRACE / batch)
    for estimator in (across_steps, gpt_neox):
        grad_sq = np.array([estimator(p, batch).grad_sq for p in products])
        assert errors_off(grad_sq, GRAD_SQ) > 4
    grad_sq = np.array([across_steps(p, batch).grad_sq for p in products])
    assert errors_off(grad_sq, expected) < 4


@pytest.mark.parametrize("way", ["shuffled", "per example"])
def test_observation_level_estimators_are_capped_by_the_design_effect(way: str) -> None:
    # 16 environments x 32 steps, correlation 0.1 within an environment: design effect 4.1, truth 820.
    envs, steps, rho, draws, dimension = 16, 32, 0.1, 300, 50
    n, deff, truth = envs * steps, 1 + (steps - 1) * rho, 820.0
    single = truth / deff  # tr Cov of one observation with |G|^2 = 1
    rng = np.random.default_rng(2)
    mean = np.full(dimension, 1 / math.sqrt(dimension))
    found, by_env = [], []
    for _ in range(draws):
        shared = rng.normal(size=(envs, 1, dimension)) * math.sqrt(rho * single / dimension)
        own = rng.normal(size=(envs, steps, dimension)) * math.sqrt((1 - rho) * single / dimension)
        rows = (mean + shared + own).reshape(n, dimension)
        env_means = rows.reshape(envs, steps, dimension).mean(axis=1)
        by_env.append(ours(env_means @ env_means.T, steps))
        if way == "shuffled":
            groups = rng.permutation(rows).reshape(envs, steps, dimension).mean(axis=1)
            found.append(ours(groups @ groups.T, steps))
        else:
            whole = rows.mean(axis=0)
            found.append(per_example(float((rows**2).sum(axis=1).mean()), float(whole @ whole), n))
    (grad_sq, trace), (env_grad_sq, env_trace) = np.mean(found, axis=0), np.mean(by_env, axis=0)
    assert env_trace / env_grad_sq == pytest.approx(truth, rel=0.1)
    assert trace / grad_sq == pytest.approx(shuffled_noise_scale(1.0, truth, deff, n), rel=0.05)
    assert trace / grad_sq < n / (deff - 1) < truth / 4
