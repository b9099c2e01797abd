"""The calibration on the paper's goals: slope, each game left out, other games; and its coverage in simulation.

    python -m benchmarks.calibration_coverage [--draws 4000]

Prints the tables of docs/notes/calibration.md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from rlgns import formatting
from rlgns.config.calibrations import calibration_for
from rlgns.critical.calibration import PATH_AVERAGE, RatioFit
from rlgns.critical.calibration_fit import fit_ratios
from rlgns.critical.calibration_ratios import Ratio
from rlgns.fit.calibration import read_measured

PAPER = Path(__file__).parents[1] / "configs" / "paper" / "critical_batch_by_goal.csv"

OTHER_GAMES = (
    ("Alien", 250, 112, 3450),
    ("Alien", 2000, 2560, 12200),
    ("Beam Rider", 600, 615, 6050),
    ("Beam Rider", 7500, 3380, 24100),
    ("Seaquest", 300, 208, 4310),
    ("Seaquest", 1750, 1220, 8720),
)
"""First and last goals of the paper's other games: goal, critical batch, noise scale, read off the same figures."""

MODELS = ((0.2006, 0.5123), (0.5, 0.5), (1.0, 0.5))
"""tau and sigma: the paper's games, as different as their goals, twice that."""

FEW, FEW_MODELS = ((1, 1, 1), (1, 1, 2), (2, 2, 2)), (*MODELS, (0.5, 1.0))
"""Goals of each game where there are few; tau and sigma, one of them doubled in each of the last two models."""

KNOWN = 0.3
"""Mean of known variances where goals are few: an interval of a factor of 3 each way."""

GOALS = 7
"""Of each simulated game."""


def half_width(fit: RatioFit) -> float:
    """Half of the 95 % interval of ln(critical batch / noise scale) of a new game's run."""
    sd = math.hypot(fit.log_ratio_sd, fit.game_sd, fit.goal_sd, fit.run_sd)
    return float(t.ppf(0.975, fit.degrees_of_freedom)) * sd


def left_out(ratios: Sequence[Ratio]) -> Iterator[tuple[str, RatioFit, list[float]]]:
    """Yields every game, the fit of the others, and its goals' misses in ln."""
    for game in dict.fromkeys(ratio.game for ratio in ratios):
        fit = fit_ratios([ratio for ratio in ratios if ratio.game != game])
        yield game, fit, [ratio.log_ratio - fit.log_ratio for ratio in ratios if ratio.game == game]


def coverage(
    games: int, tau: float, sigma: float, *, known: float = 0.0, persistence: float = 0.0, draws: int = 400
) -> tuple[float, float]:
    """Returns the share of new games' goals inside the 95 % interval, and inside that of a twin.

    The twin takes all goals as independent.

    Args:
        games: In the fit; a further one is predicted.
        tau: Standard deviation between games.
        sigma: Between the goals of a game.
        known: Mean of the goals' known variances, which are uniform up to twice this.
        persistence: Correlation of a goal with the one before, as in a game whose ratio drifts as it is learned.
        draws: Simulated fits, seed 0.
    """
    rng, hits, twin = np.random.default_rng(0), 0, 0
    for _ in range(draws):
        variance = 2 * known * rng.random((games, GOALS))
        y = tau * rng.normal(size=(games, 1)) + sigma * _drifting(rng.normal(size=(games, GOALS)), persistence)
        y += np.sqrt(variance) * rng.normal(size=(games, GOALS))
        new = tau * rng.normal() + sigma * rng.normal()
        ratios = [
            Ratio(game=str(g), goal_score=j, critical_batch=math.exp(y[g, j]), noise_scale=1, variance=variance[g, j])
            for g in range(games)
            for j in range(GOALS)
        ]
        fit = fit_ratios(ratios)
        hits += abs(new - fit.log_ratio) < half_width(fit)
        twin += abs(new - y.mean()) < t.ppf(0.975, y.size - 1) * y.std(ddof=1) * math.sqrt(1 + 1 / y.size)
    return hits / draws, twin / draws


def few_goals(
    sizes: Sequence[int], tau: float, sigma: float, *, known: float, posterior: bool, draws: int = 400
) -> tuple[float, float]:
    """Returns the share of new games' goals inside the 95 % interval, and the median of its half-width in ln.

    Args:
        sizes: Goals of each game.
        tau: Standard deviation between games.
        sigma: Between the goals of a game.
        known: Mean of the goals' known variances, which are uniform up to twice this.
        posterior: Fitted as sweeps of PPO are, with A2C's spread as the prior; else by moments.
        draws: Simulated fits, seed 0.
    """
    rng, hits, widths = np.random.default_rng(0), 0, []
    nearest = calibration_for(algorithm="a2c", epochs=1, definition=PATH_AVERAGE) if posterior else None
    for _ in range(draws):
        ratios = []
        for game, goals in enumerate(sizes):
            variances = 2 * known * rng.random(goals)
            y = tau * rng.normal() + sigma * rng.normal(size=goals) + np.sqrt(variances) * rng.normal(size=goals)
            ratios += [
                Ratio(game=str(game), goal_score=j, critical_batch=math.exp(y[j]), noise_scale=1, variance=variances[j])
                for j in range(goals)
            ]
        new = tau * rng.normal() + sigma * rng.normal()
        fit = fit_ratios(ratios, nearest=nearest)
        widths.append(half_width(fit))
        hits += abs(new - fit.log_ratio) < widths[-1]
    return hits / draws, float(np.median(widths))


def _drifting(normal: NDArray[np.float64], persistence: float) -> NDArray[np.float64]:
    """Standard normal goals [games, goals], each correlated with the one before."""
    goals = normal.copy()
    for j in range(1, goals.shape[1]):
        goals[:, j] = persistence * goals[:, j - 1] + math.sqrt(1 - persistence**2) * normal[:, j]
    return goals


def slope(ratios: Sequence[Ratio]) -> tuple[float, float]:
    """Returns the slope of ln critical batch on ln noise scale within games, and half its 95 % interval.

    Games are clusters; t with games - 1 degrees of freedom.
    """
    across, along, games = 0.0, 0.0, []
    for game in dict.fromkeys(ratio.game for ratio in ratios):
        mine = [ratio for ratio in ratios if ratio.game == game]
        x, y = (np.log([getattr(r, name) for r in mine]) for name in ("noise_scale", "critical_batch"))
        games.append((x - x.mean(), y - y.mean()))
        along, across = along + float(games[-1][0] @ games[-1][0]), across + float(games[-1][0] @ games[-1][1])
    value, count = across / along, len(games)
    scores = sum(float(x @ (y - value * x)) ** 2 for x, y in games)
    return value, float(t.ppf(0.975, count - 1)) * math.sqrt(scores * count / (count - 1)) / along


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=4000)
    draws = parser.parse_args().draws
    ratios = read_measured([PAPER]).ratios
    value, half = slope(ratios)
    print(f"slope within games {value:.2f} ({value - half:.2f} to {value + half:.2f})\n")
    print("| left out | goals | inside | noise / critical of the others | 95 % factor | rms miss | largest miss |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    misses: list[float] = []
    for game, fit, mine in left_out(ratios):
        half, misses = half_width(fit), misses + mine
        rms, most = math.sqrt(float(np.mean(np.square(mine)))), max(map(abs, mine))
        factors = f"{math.exp(-fit.log_ratio):.1f} | {math.exp(half):.1f} | {math.exp(rms):.2f} | {math.exp(most):.2f}"
        print(f"| {game} | {len(mine)} | {sum(abs(m) < half for m in mine)} | {factors} |")
    fit, bare = fit_ratios(ratios), [ratio.log_ratio for ratio in ratios]
    for name, values in (("calibrated", misses), ("bare noise scale", bare)):
        print(f"\nrms miss, {name}: factor {math.exp(math.sqrt(float(np.mean(np.square(values))))):.2f}")
    print(f"\n{fit}\n95 % factor {math.exp(half_width(fit)):.2f}\n")
    for game, goal, critical, noise in OTHER_GAMES:
        miss = math.log(critical / noise) - fit.log_ratio
        words = "inside" if abs(miss) < half_width(fit) else "outside"
        measured = f"{goal:,} | {critical:,} | {noise:,} | {noise / critical:.1f}"
        print(f"| {game} | {measured} | {math.exp(miss):.2f} | {words} |")
    print("\n| tau | sigma | persistence | games | coverage | goals taken as independent |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for (tau, sigma), persistence in (*((model, 0.0) for model in MODELS), (MODELS[0], 0.7)):
        for games in (3, 4, 7):
            share, twin = coverage(games, tau, sigma, persistence=persistence, draws=draws)
            print(f"| {tau:.2f} | {sigma:.2f} | {persistence} | {games} | {100 * share:.1f} | {100 * twin:.1f} |")
    print("\n| goals of each game | error bars, mean variance | tau | sigma | by moments | posterior |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for sizes in FEW:
        for tau, sigma in FEW_MODELS:
            cells = []
            for posterior in (False, True):
                share, half = few_goals(sizes, tau, sigma, known=KNOWN, posterior=posterior, draws=draws)
                cells.append(f"{100 * share:.1f}, a factor of {formatting.rounded(math.exp(half))}")
            print(f"| {', '.join(map(str, sizes))} | {KNOWN} | {tau:.2f} | {sigma:.2f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
