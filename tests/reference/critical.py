"""Slow, obvious twins of `rlgns.critical`: a general solver, every value tried, averages step by step."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import f, trim_mean

from rlgns.critical.calibration import KIND_SD, Calibration
from rlgns.critical.calibration_posterior import GOAL_LOG_SD


def slow_pareto(batch: np.ndarray, steps: np.ndarray) -> tuple[float, float, float]:
    """(B_crit, S_min, sum of squares) of least squares in log space: the best of many starts of a general solver."""

    def residuals(p: np.ndarray) -> np.ndarray:
        return np.log(steps) - p[0] - np.log1p(np.exp(p[1]) / batch)

    starts = [(math.log(steps.min()), math.log(b)) for b in batch]
    best = min((least_squares(residuals, start, xtol=1e-14, ftol=1e-14) for start in starts), key=lambda fit: fit.cost)
    return float(np.exp(best.x[1])), float(np.exp(best.x[0])), 2 * float(best.cost)


def slow_pareto_interval(
    batch: np.ndarray, steps: np.ndarray, critical: np.ndarray, level: float
) -> list[tuple[float, float]]:
    """[(low, high)] of B_crit, S_min and E_min: the extremes over all pairs on a grid that F does not reject."""
    least = slow_pareto(batch, steps)[2]
    bound = least * (1 + f.ppf(level, 1, len(batch) - 2) / (len(batch) - 2))
    accepted = []
    for b in critical:
        around = float(np.mean(np.log(steps) - np.log1p(b / batch)))
        for log_min_steps in around + np.linspace(-0.4, 0.4, 161):
            squares = np.sum((np.log(steps) - log_min_steps - np.log1p(b / batch)) ** 2)
            if squares <= bound:
                accepted.append((b, math.exp(log_min_steps), b * math.exp(log_min_steps)))
    return [(float(min(column)), float(max(column))) for column in zip(*accepted, strict=True)]


def slow_run_average(rows: list[dict[str, float]], batch: float) -> float:
    """Sum w N / sum w over rows of known noise scale, w = steps / (1 + N / B), one row after the other."""
    above = below = 0.0
    for row in rows:
        noise_scale = row["trace"] / row["grad_sq"]
        weight = row["steps"] / (1 + noise_scale / batch)
        above += weight * noise_scale
        below += weight
    return above / below


def slow_gamma(rows: list[dict[str, float]], exchange_rate: float) -> float:
    """(S/S_min - 1) (E/E_min - 1) of a run at B = sqrt(r N), step by step through its full-batch steps.

    Rows: ds full-batch steps, noise_scale meanwhile. At B one of them takes 1 + N/B steps and N + B observations.
    """
    steps = observations = min_steps = min_observations = 0.0
    for row in rows:
        batch = math.sqrt(exchange_rate * row["noise_scale"])
        steps += row["ds"] * (1 + row["noise_scale"] / batch)
        observations += row["ds"] * (row["noise_scale"] + batch)
        min_steps += row["ds"]
        min_observations += row["ds"] * row["noise_scale"]
    return (steps / min_steps - 1) * (observations / min_observations - 1)


def slow_next_envs(target: dict[str, float], now: int, batch: float, tiers: list[int], held: int) -> int:
    """The rule of the adaptive batch, sentence by sentence. `target`: best (absent where not resolved), low, high."""
    if held < 8:
        return now
    for tier in sorted(tiers, reverse=True):
        if tier == 2 * now:
            centre = target.get("best", target["low"])
            if math.log2(centre / batch) > 0.75 and target["low"] > batch:
                return tier
        if 2 * tier == now and "best" in target and math.log2(batch / target["best"]) > 0.75 and target["high"] < batch:
            return tier
    return now


def slow_iqm(scores: dict[str, list[float]]) -> float:
    """Interquartile mean as the authors of rliable compute it: SciPy's trimmed mean of all runs."""
    return float(trim_mean([score for runs in scores.values() for score in runs], 0.25))


def slow_plan(
    goal: dict[str, float], batch: float, *, machines: int, rate: float, price: float, share: float
) -> dict[str, float]:
    """What the report's planner must say of one batch: as many machines at work as it keeps busy, one after the other.

    A batch that does not keep one busy plays proportionally fewer observations per second.

    `goal`: min_steps, min_observations, critical_batch. `rate`: observations per second of one machine, `share`: the
    batch that keeps it busy, `price`: of its hour.
    """
    used = 1
    while used < machines and (used + 1) * share <= batch:
        used += 1
    uses_per_observation = goal["min_steps"] * goal["critical_batch"] / goal["min_observations"]
    steps = goal["min_steps"] * (batch + goal["critical_batch"]) / batch
    observations = steps * batch / uses_per_observation
    seconds = observations / rate / used / min(1.0, batch / share)
    cost = used * seconds / 3600 * price
    return {"machines": used, "steps": steps, "observations": observations, "seconds": seconds, "cost": cost}


def slow_calibration(
    y: np.ndarray, variance: np.ndarray, game: np.ndarray, tau_sq: float, sigma_sq: float
) -> dict[str, float]:
    """One round of the calibration's moment equations by dense matrices: cov(y) = tau^2 Z Z' + sigma^2 I + V.

    `goals_gap` and `games_gap` are observed minus expected weighted squares at tau^2 and sigma^2: 0 at the solution.
    `mean` and `mean_variance` are those of mu.
    """
    names = list(dict.fromkeys(game))
    belongs = np.array([[float(g == name) for name in names] for g in game])
    covariance = tau_sq * belongs @ belongs.T + np.diag(sigma_sq + variance)
    within = np.diag(1 / (sigma_sq + variance))
    to_mean = np.linalg.inv(belongs.T @ within @ belongs) @ belongs.T @ within  # goals to games' means
    residual = np.eye(len(y)) - belongs @ to_mean
    goals = residual.T @ within @ residual
    games = 1 / np.diag(to_mean @ covariance @ to_mean.T)
    games /= games.sum()
    centred = np.eye(len(names)) - np.outer(np.ones(len(names)), games)
    between = to_mean.T @ centred.T @ np.diag(games) @ centred @ to_mean
    weights = games @ to_mean
    return {
        "goals_gap": float(y @ goals @ y - np.trace(goals @ covariance)),
        "games_gap": float(y @ between @ y - np.trace(between @ covariance)),
        "mean": float(weights @ y),
        "mean_variance": float(weights @ covariance @ weights),
    }


def slow_posterior(
    y: list[list[float]], variance: list[list[float]], bound: list[list[int]], nearest: Calibration, *, draws: int
) -> tuple[float, float]:
    """Middle and half-width of the 95 % interval of a new goal, by weighting draws of everything unknown, seed 0.

    The flat prior of mu is a wide uniform one; with one measured game it is the other calibration's. `bound` is 1
    where a goal is at least y, with a likelihood that is flat above it; 0 where it is y.
    """
    rng = np.random.default_rng(0)
    tau = np.abs(rng.normal(size=draws)) * KIND_SD
    sigma = nearest.goal_sd * np.exp(GOAL_LOG_SD * rng.normal(size=draws))
    measured = [
        value
        for values, marks in zip(y, bound, strict=True)
        for value, mark in zip(values, marks, strict=True)
        if not mark
    ]
    if sum(0 in marks for marks in bound) == 1:
        mu = nearest.log_ratio + math.hypot(nearest.log_ratio_sd, nearest.widening_sd) * rng.normal(size=draws)
    else:
        mu = float(np.mean(measured)) + rng.uniform(-8, 8, size=draws)
    log_weight = np.zeros(draws)
    for values, known, marks in zip(y, variance, bound, strict=True):
        of_game = mu + tau * rng.normal(size=draws)
        for value, v, mark in zip(values, known, marks, strict=True):
            if mark:
                off = np.maximum(0.0, value - of_game - sigma * rng.normal(size=draws))
                log_weight -= off**2 / (2 * v)
            else:
                log_weight -= (value - of_game) ** 2 / (2 * (sigma**2 + v)) + np.log(sigma**2 + v) / 2
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    middle = float(weight @ mu)
    chosen = rng.choice(draws, size=draws, p=weight)
    new = mu[chosen] + np.hypot(tau[chosen], sigma[chosen]) * rng.normal(size=draws)
    return middle, float(np.quantile(np.abs(new - middle), 0.95))
