"""Hessian-weighted noise scale: against a known population whose gradients and curvatures are correlated."""

import math

import numpy as np
import pytest
import torch

from rlgns.noise import Moments, NoiseScaleTracker, group_moments
from rlgns.noise.offline.hessian import hessian_moments, hessian_noise_scale, hessian_vector_products
from tests.reference.noise import slow_hessian

DRAWS, GROUPS, PER_GROUP, KINDS, SIZE = 1500, 8, 2, 6, 4


class Population:
    """Six kinds of observation, loss (theta - c)' A (theta - c) / 2 each, all equally likely; theta = 0."""

    def __init__(self, indefinite: bool = False) -> None:
        rng = np.random.default_rng(3)
        half = rng.standard_normal((KINDS, SIZE, SIZE))
        self.hessians = half @ half.transpose(0, 2, 1) * np.linspace(0.2, 3, KINDS)[:, None, None]
        if indefinite:
            self.hessians -= 12 * np.eye(SIZE)
        centres = rng.standard_normal((KINDS, SIZE)) + 0.7
        self.gradients = -np.einsum("kij,kj->ki", self.hessians, centres)
        self.hessian = self.hessians.mean(0)
        self.gradient = self.gradients.mean(0)
        covariance = np.cov(self.gradients.T, bias=True)
        self.grad_sq = float(self.gradient @ self.hessian @ self.gradient)
        self.trace = float(np.trace(self.hessian @ covariance))

    def draw(self, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
        kinds = rng.integers(KINDS, size=(GROUPS, PER_GROUP))
        return torch.from_numpy(self.gradients[kinds].mean(1)), self.hessians[kinds].mean(1)


def standardised(estimates: list[tuple[float, float]], population: Population) -> np.ndarray:
    """Mean error of G'HG and tr(H Sigma) in standard errors."""
    values = np.array(estimates)
    error = values.mean(0) - np.array([population.grad_sq, population.trace])
    result: np.ndarray = error / (values.std(0, ddof=1) / math.sqrt(len(values)))
    return result


def measure(population: Population, rng: np.random.Generator) -> Moments:
    """Gradients of one half of a batch, the Hessian of the other."""
    gradients, hessians = population.draw(rng)
    half = GROUPS // 2
    return hessian_moments(gradients[:half], gradients[:half] @ torch.from_numpy(hessians[half:].mean(0)), PER_GROUP)


@pytest.mark.parametrize("indefinite", [False, True])
def test_gradients_of_one_half_and_the_hessian_of_the_other_are_unbiased(indefinite: bool) -> None:
    population, rng = Population(indefinite), np.random.default_rng(0)
    several = [measure(population, rng) for _ in range(DRAWS)]
    assert np.abs(standardised([(m.grad_sq, m.trace) for m in several], population)).max() < 4


def test_the_same_observations_for_both_are_biased() -> None:
    """The twin that must fail: H of the batch that the gradients come from."""
    population, rng = Population(), np.random.default_rng(0)
    estimates = []
    for _ in range(DRAWS):
        gradients, hessians = population.draw(rng)
        moments = hessian_moments(gradients, gradients @ torch.from_numpy(hessians.mean(0)), PER_GROUP)
        estimates.append((moments.grad_sq, moments.trace))
    errors = np.abs(standardised(estimates, population))
    assert errors.min() > 4  # each of the two


def test_ratio_interval_contains_the_truth() -> None:
    population, rng = Population(), np.random.default_rng(1)
    tracker = NoiseScaleTracker()
    for _ in range(500):
        tracker.update(measure(population, rng))
    estimate = hessian_noise_scale(tracker.estimate())
    truth = population.trace / population.grad_sq
    assert estimate.resolved
    assert estimate.low < truth < estimate.high
    assert estimate.high / estimate.low < 2


def test_identity_hessian_gives_b_simple() -> None:
    gradients = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weighted, plain = hessian_moments(gradients, gradients, 4), group_moments(gradients, 4)
    assert weighted.grad_sq == pytest.approx(plain.grad_sq, rel=1e-12)
    assert weighted.trace == pytest.approx(plain.trace, rel=1e-12)


def test_negative_curvature_is_said_and_not_clamped() -> None:
    population, rng = Population(indefinite=True), np.random.default_rng(1)
    assert population.grad_sq < 0
    tracker = NoiseScaleTracker()
    for _ in range(200):
        tracker.update(measure(population, rng))
    raw = tracker.estimate()
    assert raw.grad_sq == pytest.approx(population.grad_sq, rel=0.3)
    found = hessian_noise_scale(raw)
    assert math.isnan(found.noise_scale) and math.isnan(found.low) and math.isinf(found.high) and not found.resolved
    assert found.grad_sq == raw.grad_sq


def test_products_of_a_convolutional_network_match_the_written_out_hessian() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 2), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    ).double()
    images, labels = torch.randn(6, 1, 3, 3, dtype=torch.float64), torch.randint(3, (6,))
    parameters = list(network.parameters())
    count = sum(parameter.numel() for parameter in parameters)

    def loss(rows: slice) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(network(images[rows]), labels[rows])

    vectors = torch.randn(3, count, dtype=torch.float64)
    found = hessian_vector_products([lambda: loss(slice(0, 3)), lambda: loss(slice(3, 6))], parameters, vectors)
    expected = vectors @ torch.from_numpy(slow_hessian(lambda: loss(slice(0, 6)), parameters))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert all(parameter.grad is None for parameter in parameters)


def test_linear_loss_has_no_curvature() -> None:
    weight = torch.ones(3, requires_grad=True)
    assert not hessian_vector_products([lambda: weight.sum()], [weight], torch.ones(2, 3)).any()


def test_not_finite_is_nan() -> None:
    assert not hessian_moments(torch.full((4, 2), math.nan), torch.ones(4, 2), 3).is_finite


def test_refuses() -> None:
    with pytest.raises(ValueError, match="no loss"):
        hessian_vector_products([], [torch.ones(2)], torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"vectors must be \[k, 2\]"):
        hessian_vector_products([], [torch.ones(2)], torch.ones(1, 3))
    with pytest.raises(ValueError, match="must match"):
        hessian_moments(torch.ones(2, 2), torch.ones(2, 3), 1)
