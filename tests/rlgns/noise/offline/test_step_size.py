"""Line searches on a quadratic whose B_noise and best step sizes are known."""

import math

import numpy as np
import pytest

from rlgns.noise.offline.step_size import fit_step_sizes, slope_and_curvature

CURVATURES = np.array([4.0, 1.0, 0.25])
GRADIENT = np.array([0.3, -0.6, 1.0])
SPREAD = np.array([2.0, 1.0, 3.0])
BATCHES = np.array([64.0, 128.0, 256.0, 512.0])
GHG = float(CURVATURES @ GRADIENT**2)
TRACE = float(CURVATURES @ (SPREAD**2 * 64))
GRAD_SQ = float(GRADIENT @ GRADIENT)


def search(rng: np.random.Generator, *, same: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and curvatures [batches] of one line search; `same`: losses are of the direction's own observations."""
    groups = GRADIENT + SPREAD * rng.standard_normal((8, 3))
    evaluated = GRADIENT + SPREAD * rng.standard_normal((8, 3)).mean(0)
    rows = []
    for batch in BATCHES:
        direction = groups[: int(batch) // 64].mean(0)
        gradient = direction if same else evaluated
        tried = 0.05 * np.array([0.5, 1.0, 1.5])
        rows.append(
            [-e * gradient @ direction + e**2 / 2 * CURVATURES @ direction**2 for e in tried],
        )
    return slope_and_curvature(np.full((4, 3), 0.05) * np.array([0.5, 1.0, 1.5]), np.array(rows))


def test_a_quadratic_is_recovered() -> None:
    e = np.array([0.1, 0.2, 0.5])
    slope, curvature = slope_and_curvature(e, -3 * e + 7 * e**2 / 2)
    assert slope == pytest.approx(3)
    assert curvature == pytest.approx(7)


def test_known_truth_and_the_twin_on_the_same_observations() -> None:
    rng = np.random.default_rng(0)
    slopes, curvatures = (np.array(column) for column in zip(*(search(rng) for _ in range(3000)), strict=True))
    fit = fit_step_sizes(BATCHES, slopes, curvatures)
    truth = TRACE / GHG
    assert fit.noise_scale.low < truth < fit.noise_scale.high
    assert fit.largest_step_size.low < GRAD_SQ / GHG < fit.largest_step_size.high
    for batch, best in zip(BATCHES, fit.best_step_sizes, strict=True):
        assert best.low < GRAD_SQ / (GHG + TRACE / batch) < best.high
        assert fit.predicted(batch) == pytest.approx(GRAD_SQ / GHG / (1 + truth / batch), rel=0.2)
    errors = curvatures.std(0) / math.sqrt(3000)
    assert (np.abs(np.array(fit.curvatures) - (GHG + TRACE / BATCHES)) < 4 * errors).all()
    # Losses of the observations that gave the direction: the slope is |g_B|^2, and large batches look no better.
    same = np.array([search(rng, same=True)[0] for _ in range(3000)])
    assert np.abs(slopes.mean(0) - GRAD_SQ).max() < 4 * (slopes.std(0) / math.sqrt(3000)).max()
    assert (same.mean(0) - GRAD_SQ).min() > 4 * (same.std(0) / math.sqrt(3000)).max()


def test_negative_curvature_is_not_resolved() -> None:
    rng = np.random.default_rng(0)
    curvatures = -1 + 0.1 * rng.standard_normal((50, 4))
    fit = fit_step_sizes(BATCHES, np.ones((50, 4)), curvatures)
    assert math.isnan(fit.noise_scale.noise_scale)
    assert math.isnan(fit.largest_step_size.value)
    assert math.isnan(fit.predicted(64))
    assert fit.noise_scale.grad_sq < 0
