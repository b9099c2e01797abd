"""The calibration's fit: against dense matrices, closed forms, and simulated new games."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.calibration_coverage import KNOWN, MODELS, coverage, few_goals, half_width
from rlgns.critical.calibration import RatioFit
from rlgns.critical.calibration_choice import nearest_calibration
from rlgns.critical.calibration_fit import fit_ratios
from rlgns.critical.calibration_ratios import Ratio, Scatter
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
    ("y", "variance", "bound"),
    [
        ([[-1.1], [0.3], [-0.2]], [[1.0], [0.3], [0.4]], [[0], [0], [0]]),
        ([[-1.1, -1.6], [0.3]], [[0.2, 0.1], [0.3]], [[0, 0], [0]]),
        ([[-0.5, -0.9, 0.1]], [[0.3, 0.0, 0.1]], [[0, 0, 0]]),
        ([[-1.7, -1.1], [0.3, 1.0], [-0.7, 1.1]], [[0.5, 0.8], [0.3, 0.8], [0.2, 0.6]], [[0, 0], [0, 1], [0, 1]]),
        ([[-0.5], [0.4]], [[0.3], [0.2]], [[0], [1]]),
        ([[0.0, 1.5], [0.1, 1.5, 2.0]], [[0.2, 0.2], [0.3, 0.2, 0.4]], [[0, 1], [0, 1, 1]]),
    ],
)
def test_few_goals_agree_with_draws_from_the_prior(
    y: list[list[float]], variance: list[list[float]], bound: list[list[int]]
) -> None:
    ratios = make_ratios(y, variance)
    marks = [mark for game in bound for mark in game]
    fit = fit_ratios([dataclasses.replace(r, bound=m) for r, m in zip(ratios, marks, strict=True)], nearest=NEAR)
    middle, half = slow_posterior(y, variance, bound, NEAR, draws=1_000_000)
    assert fit.log_ratio == pytest.approx(middle, abs=0.025)
    assert half_width(fit) == pytest.approx(half, rel=0.03)
    assert (fit.games, fit.goals) == (sum(0 in game for game in bound), marks.count(0))


def test_an_upper_bound_is_a_lower_one_turned_round() -> None:
    y, variance = [[-0.6], [0.2, 0.9]], [[0.3], [0.2, 0.4]]
    up, down = make_ratios(y, variance), make_ratios([[-v for v in game] for game in y], variance)
    least = fit_ratios([*up[:2], dataclasses.replace(up[2], bound=1)], nearest=NEAR)
    most = fit_ratios([*down[:2], dataclasses.replace(down[2], bound=-1)], nearest=NEAR)
    assert least.log_ratio == pytest.approx(-most.log_ratio, abs=1e-6)
    assert half_width(least) == pytest.approx(half_width(most))


def test_leaving_out_bounds_favours_small_critical_batches() -> None:
    """100 draws of three games with three goals; where the critical batch is above 1,000 only "at least" is known."""
    rng, kept, dropped = np.random.default_rng(4), [], []
    for _ in range(100):
        ratios = []
        for game in range(3):
            for noise, effect in zip((200, 600, 1800), 0.4 * rng.normal() + 0.5 * rng.normal(size=3), strict=True):
                critical = noise * math.exp(effect + 0.3 * rng.normal())
                ratios.append(
                    Ratio(
                        game=str(game),
                        goal_score=noise,
                        critical_batch=min(critical, 1000),
                        noise_scale=noise,
                        variance=0.09,
                        bound=int(critical > 1000),
                    )
                )
        if any(not ratio.bound for ratio in ratios):
            kept.append(fit_ratios(ratios, nearest=NEAR).log_ratio)
            dropped.append(fit_ratios([r for r in ratios if not r.bound], nearest=NEAR).log_ratio)
    assert abs(np.mean(kept)) < 0.12
    assert np.mean(dropped) < -0.2


def test_a_few_goals_that_agree_have_the_priors_spread() -> None:
    """By moments three equal ratios without error bars would leave no error at all."""
    fit = fit_ratios(make_ratios([[-1.0]] * 3), nearest=NEAR)
    assert half_width(fit) > math.log(2.5)


def test_the_spread_between_runs_is_part_of_a_new_runs_error() -> None:
    y, variance = [[-1.1, -0.5], [0.3], [-0.2]], [[0.3, 0.2], [0.3], [0.4]]
    plain, wide = (fit_ratios(make_ratios(y, variance), nearest=NEAR, runs=Scatter(sd=rho)) for rho in (0.0, 0.5))
    assert wide.log_ratio == plain.log_ratio and plain.run_sd == 0
    assert half_width(wide) == pytest.approx(math.hypot(half_width(plain), 1.96 * 0.5), rel=0.05)
    unsure = fit_ratios(make_ratios(y, variance), nearest=NEAR, runs=Scatter(sd=0.5, freedom=8))
    assert half_width(unsure) > 1.02 * half_width(wide) and unsure.log_ratio == wide.log_ratio
    with pytest.raises(ValueError, match="need another calibration as the prior"):
        fit_ratios(make_ratios(y, variance), runs=Scatter(sd=0.5))


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
