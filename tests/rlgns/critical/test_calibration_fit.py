"""The calibration's fit: against dense matrices, closed forms, and simulated new games."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.calibration_coverage import KNOWN, MODELS, coverage, few_goals, half_width
from rlgns.critical.calibration import RatioFit, nearest_calibration
from rlgns.critical.calibration_fit import Ratio, fit_ratios
from tests.reference.critical import slow_calibration, slow_posterior
from tests.rlgns.critical.test_calibration import A2C


def make_ratios(games: Sequence[Sequence[float]], variance: Sequence[Sequence[float]] | None = None) -> list[Ratio]:
    """One ratio per entry: ln(critical batch / noise scale), by game."""
    return [
        Ratio(
            game=f"game {g}",
            goal_score=j,
            critical_batch=1000 * math.exp(y),
            noise_scale=1000,
            variance=variance[g][j] if variance else 0.0,
        )
        for g, game in enumerate(games)
        for j, y in enumerate(game)
    ]


def variance_of(fit: RatioFit) -> float:
    return fit.game_sd**2 + fit.goal_sd**2 + fit.log_ratio_sd**2


def test_equal_games_have_the_closed_form() -> None:
    y = np.array([[-2.5, -1.5, -2.0], [-1.0, -0.4, -1.3], [-3.0, -2.2, -2.9], [-1.4, -1.9, -0.9]])
    fit = fit_ratios(make_ratios(y.tolist()))
    games, goals = float(np.var(y.mean(axis=1), ddof=1)), float(np.mean(np.var(y, axis=1, ddof=1)))
    assert fit.log_ratio == pytest.approx(y.mean())
    assert fit.goal_sd**2 == pytest.approx(goals) and fit.game_sd**2 == pytest.approx(games - goals / 3)
    parts = (1 + 1 / 4) * games, (1 - 1 / 3) * goals
    assert variance_of(fit) == pytest.approx(sum(parts))
    assert fit.degrees_of_freedom == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 8))
    assert (fit.games, fit.goals) == (4, 12)


@pytest.mark.parametrize("known", [False, True])
def test_unequal_games_agree_with_dense_matrices(known: bool) -> None:
    rng = np.random.default_rng(2)
    sizes = (2, 5, 3, 1, 7)
    variance = [[0.3 * rng.random() if known else 0.0 for _ in range(m)] for m in sizes]
    y = [[u + 0.4 * rng.normal() + math.sqrt(v) * rng.normal() for v in vs] for vs in variance for u in [rng.normal()]]
    fit = fit_ratios(make_ratios(y, variance))
    flat, game = np.concatenate(y), np.repeat(np.arange(len(sizes)), sizes)
    slow = slow_calibration(flat, np.concatenate(variance), game, fit.game_sd**2, fit.goal_sd**2)
    assert abs(slow["goals_gap"]) < 1e-5 and abs(slow["games_gap"]) < 1e-5
    assert fit.log_ratio == pytest.approx(slow["mean"])
    assert fit.log_ratio_sd**2 == pytest.approx(slow["mean_variance"], rel=1e-5)


def test_a_point_with_wide_error_bars_hardly_counts() -> None:
    y = [[-2.0, -1.6, -1.9], [-1.5, -1.7, -1.2], [-2.2, -1.9, -2.4]]
    clean = fit_ratios(make_ratios(y))
    outlier = [[*y[0], 6.0], *y[1:]]
    bars = [[0.0, 0.0, 0.0, 64.0], *([[0.0] * 3] * 2)]
    weighted = fit_ratios(make_ratios(outlier, bars))
    assert weighted.log_ratio == pytest.approx(clean.log_ratio, abs=0.05)
    assert fit_ratios(make_ratios(outlier)).log_ratio > clean.log_ratio + 0.4


def test_one_goal_a_game_and_games_that_agree() -> None:
    single = fit_ratios(make_ratios([[-2.0], [-1.0], [-1.5]]))
    assert single.goal_sd == 0 and single.degrees_of_freedom == pytest.approx(2)
    assert variance_of(single) == pytest.approx((1 + 1 / 3) * 0.25)
    same = fit_ratios(make_ratios([[-1.0, -1.0]] * 3))
    assert same.log_ratio == pytest.approx(-1) and variance_of(same) < 1e-6 and same.degrees_of_freedom >= 1


NEAR = nearest_calibration([A2C], algorithm="ppo", epochs=4)


@pytest.mark.parametrize(
    ("y", "variance"),
    [
        ([[-1.1], [0.3], [-0.2]], [[1.0], [0.3], [0.4]]),
        ([[-1.1, -1.6], [0.3]], [[0.2, 0.1], [0.3]]),
        ([[-0.5, -0.9, 0.1]], [[0.3, 0.0, 0.1]]),
    ],
)
def test_few_goals_agree_with_draws_from_the_prior(y: list[list[float]], variance: list[list[float]]) -> None:
    fit = fit_ratios(make_ratios(y, variance), nearest=NEAR)
    middle, half = slow_posterior(y, variance, NEAR, draws=200_000)
    assert fit.log_ratio == pytest.approx(middle, abs=0.02)
    assert half_width(fit) == pytest.approx(half, rel=0.03)
    assert (fit.games, fit.goals) == (len(y), sum(map(len, y)))


def test_many_goals_with_error_bars_agree_with_moments() -> None:
    rng = np.random.default_rng(5)
    y = [(u + 0.5 * rng.normal(size=8)).tolist() for u in 0.6 * rng.normal(size=12)]
    moments = fit_ratios(make_ratios(y))
    fit = fit_ratios(make_ratios(y, [[1e-6] * 8] * 12), nearest=NEAR)
    assert fit.log_ratio == pytest.approx(moments.log_ratio, abs=0.05)
    assert half_width(fit) == pytest.approx(half_width(moments), rel=0.1)


def test_one_game_takes_its_mean_from_the_other_calibration_too() -> None:
    one = fit_ratios(make_ratios([[-0.5]]), nearest=NEAR)
    assert -1.85 < one.log_ratio < -0.5 and one.games == 1
    useless = fit_ratios(make_ratios([[-0.5]], [[1e6]]), nearest=NEAR)
    assert useless.log_ratio == pytest.approx(-1.85, abs=1e-2)
    assert one.log_ratio_sd < useless.log_ratio_sd
    two = fit_ratios(make_ratios([[-0.5], [-0.7]], [[0.1], [0.1]]), nearest=NEAR)
    assert two.log_ratio == pytest.approx(-0.6, abs=1e-6)
    without_spread = dataclasses.replace(NEAR, goal_sd=0.0)
    assert math.isfinite(half_width(fit_ratios(make_ratios([[-0.5]]), nearest=without_spread)))
    with pytest.raises(ValueError, match="needs 3 games, got 2: game 0, game 1"):
        fit_ratios(make_ratios([[-1.0], [-2.0]]))
    with pytest.raises(ValueError, match="no goal has both"):
        fit_ratios([])


@pytest.mark.parametrize("sizes", [(1, 1, 1), (1, 1, 2)])
def test_coverage_of_few_goals_with_error_bars(sizes: tuple[int, ...]) -> None:
    """400 draws. The twin, by moments, has an interval that says nothing."""
    for tau, sigma in MODELS[:2]:
        share, half = few_goals(sizes, tau, sigma, known=KNOWN, posterior=True)
        assert share >= 0.95 and half < math.log(8)
    assert few_goals(sizes, *MODELS[0], known=KNOWN, posterior=False)[1] > math.log(50)
    assert few_goals(sizes, *MODELS[2], known=KNOWN, posterior=True)[0] >= 0.85  # games twice as far apart: too narrow


@pytest.mark.parametrize("games", [3, 4, 7])
@pytest.mark.parametrize(("tau", "sigma"), MODELS[:2])
def test_coverage_of_a_new_game(games: int, tau: float, sigma: float) -> None:
    """400 draws and bounds fixed before looking."""
    assert 0.93 <= coverage(games, tau, sigma)[0] <= 0.97


@pytest.mark.parametrize("games", [3, 7])
def test_goals_taken_as_independent_fail(games: int) -> None:
    assert coverage(games, *MODELS[2])[1] < 0.91


def test_coverage_with_error_bars() -> None:
    assert 0.93 <= coverage(4, 0.5, 0.5, known=0.25)[0] <= 0.97


def test_coverage_where_a_games_ratio_drifts() -> None:
    assert 0.93 <= coverage(4, *MODELS[0], persistence=0.7)[0] <= 0.97
