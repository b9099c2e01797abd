"""The ladder of squared gradient norms, and the law that is fitted to it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlgns.noise import Rung, fit_ladder, gram, group_moments


@pytest.mark.parametrize("groups", [2, 3, 4, 6, 8, 12, 16])
def test_the_ladder_holds_the_merged_squared_norms(groups: int) -> None:
    gradients = np.random.default_rng(groups).normal(size=(groups, 30)) + 0.2
    ladder = group_moments(gradients, observations_per_group=5).ladder
    sizes = [2**k for k in range(10) if 2**k < groups] + [groups]
    assert [rung.batch_observations for rung in ladder] == [5 * size for size in sizes]
    for rung, size in zip(ladder, sizes, strict=True):
        merged = [gradients[i : i + size].mean(axis=0) for i in range(0, groups - size + 1, size)]
        assert rung.grad_sq_norm == pytest.approx(float(np.mean([np.sum(m**2) for m in merged])), rel=1e-12)


def test_the_ladder_fit_recovers_an_exact_law() -> None:
    rungs = [Rung(batch_observations=b, grad_sq_norm=0.5 + 300 / b) for b in (16, 32, 64, 128, 256)]
    fit = fit_ladder(rungs)
    assert (fit.grad_sq, fit.trace) == pytest.approx((0.5, 300))
    assert fit.misfit < 1e-12


def test_the_ladder_fit_of_one_batch_with_two_rungs_is_its_moments() -> None:
    gradients = np.random.default_rng(0).normal(size=(2, 20)) + 1
    moments = group_moments(gradients, 4)
    fit = fit_ladder(moments.ladder)
    assert (fit.grad_sq, fit.trace) == pytest.approx((moments.grad_sq, moments.trace))


def test_the_misfit_is_the_largest_relative_distance_of_a_rung_from_the_law() -> None:
    rungs = [Rung(batch_observations=b, grad_sq_norm=n) for b, n in ((16, 20.0), (32, 13.0), (64, 5.0), (128, 3.1))]
    fit = fit_ladder(rungs)
    distances = [abs(fit.law(rung.batch_observations) / rung.grad_sq_norm - 1) for rung in rungs]
    assert fit.misfit == pytest.approx(max(distances)) and fit.misfit > 1.5 * np.sqrt(np.mean(np.square(distances)))

    # No other law has a smaller sum of squared relative residuals.
    def squares(grad_sq: float, trace: float) -> float:
        return sum((1 - (grad_sq + trace / r.batch_observations) / r.grad_sq_norm) ** 2 for r in rungs)

    for change in (0.99, 1.01):
        assert squares(fit.grad_sq * change, fit.trace) > squares(fit.grad_sq, fit.trace)
        assert squares(fit.grad_sq, fit.trace * change) > squares(fit.grad_sq, fit.trace)


@pytest.mark.parametrize(("grad_sq", "trace", "scale"), [(2.0, 6.0, 3.0), (-1e-3, 1.0, None), (1.0, -0.1, None)])
def test_the_fits_noise_scale_needs_both_to_be_positive(grad_sq: float, trace: float, scale: float | None) -> None:
    fit = fit_ladder([Rung(batch_observations=b, grad_sq_norm=grad_sq + trace / b) for b in (1, 2, 4)])
    assert math.isnan(fit.noise_scale) if scale is None else fit.noise_scale == pytest.approx(scale)


def test_the_ladder_over_time_sees_correlation() -> None:
    # Segments of T/4, T/2, T steps of every environment: longer segments do not average what the environment shares.
    rng = np.random.default_rng(2)
    envs, steps, size, rho, grad_sq = 16, 32, 40, 0.1, 0.2
    norms: dict[int, list[float]] = {steps // 4: [], steps // 2: [], steps: []}
    for _ in range(500):
        g = rng.normal(size=(envs, steps, size)) * math.sqrt(1 - rho)
        g += rng.normal(size=(envs, 1, size)) * math.sqrt(rho) + math.sqrt(grad_sq) * np.eye(size)[0]
        for length, found in norms.items():
            segments = g.reshape(envs * steps // length, length, size).mean(axis=1)
            found.append(float(np.diag(gram(segments)).mean()))
    measured = [Rung(batch_observations=b, grad_sq_norm=float(np.mean(v))) for b, v in norms.items()]
    fit = fit_ladder(measured)
    assert fit.grad_sq == pytest.approx(grad_sq + size * rho, rel=0.05), "the shared part looks like a mean"


@pytest.mark.parametrize(
    "rungs",
    [
        [],
        [Rung(batch_observations=4, grad_sq_norm=1.0)],
        [Rung(batch_observations=4, grad_sq_norm=1.0), Rung(batch_observations=4, grad_sq_norm=2.0)],
        [Rung(batch_observations=4, grad_sq_norm=1.0), Rung(batch_observations=8, grad_sq_norm=0.0)],
        [Rung(batch_observations=4, grad_sq_norm=math.nan), Rung(batch_observations=8, grad_sq_norm=1.0)],
    ],
)
def test_a_ladder_that_cannot_be_fitted_is_nan(rungs: list[Rung]) -> None:
    fit = fit_ladder(rungs)
    assert all(math.isnan(value) for value in (fit.grad_sq, fit.trace, fit.misfit))
