r"""When a run reached its score goals, and the average noise scale of the run up to there.

**The score** is `score_mean`, the mean of the last 100 full games. When many environments start together, the first
games to end are short ones, and in most games a short one is a poor one (in Pong, a quick defeat). So no score counts
before WINDOW full games have ended, and as many as there are environments; when an adaptive batch adds environments,
the count starts again. A mean of fewer games would also be noisier and pass a goal too early. Between the row before
and the row that reaches the goal all amounts are interpolated, linearly in the score: an iteration of a large batch is
a large step.

**The average noise scale** for a run at batch B weighs each optimizer step by w = 1 / (1 + N/B), N the noise scale then
(McCandlish et al. 2018, arXiv:1812.06162, appendix D; `RunAverage`). With N = T/G, trace over squared gradient,

    w = G / (G + T/B),   w N = T / (G + T/B),   average = (sum w N) / (sum w),

and G + T/B = E|g_B|^2 is the mean squared norm of the batch's gradient. So the average is a ratio of sums of the *raw*
moments, each divided by the squared size of gradients at batch B, without the lag of a smoothed scale. The size comes
from the rows before, since a batch's own size would bias the ratio (`rlgns.noise.GradientSize`); so the large gradients
of the first iterations do not dominate the sums. The interval is Fieller's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from rlgns.critical.run_average import RunAverage
from rlgns.noise.block_sums import BlockSums
from rlgns.noise.interval import UNKNOWN, RatioInterval, ratio_interval

WINDOW = 100
"""Full games after which `score_mean` counts."""

SIZE_ROWS = 8
"""Rows over which the squared size of the gradients is averaged."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GoalReached:
    """What a run needed to reach one goal. The noise scale is None where not known."""

    goal: float
    observations: float
    """Interpolated between rows, as are steps and seconds."""
    optimizer_steps: float
    seconds: float
    noise_scale: float | None
    """Average of the run up to the goal, observations; None until |G|^2 is positive."""
    noise_scale_low: float | None
    """Lower end of its interval; None where nothing is known."""
    noise_scale_high: float | None
    """Upper end; None where only the lower bound is known."""
    adaptive_gamma: float | None = None
    """gamma predicted for an adaptive batch up to the goal, from the smoothed noise scale (`RunAverage`)."""


def reach_goals(
    rows: Sequence[Mapping[str, Any]], goals: Sequence[float], *, environments: int = 1, level: float = 0.95
) -> list[GoalReached | None]:
    """Returns, for each goal, when the run's mean score first reached it; None where it never did.

    Args:
        rows: of metrics.jsonl, oldest first.
        goals: raw scores, in any order.
        environments: how many play at once, for rows without `num_envs`; as many games must have ended before a score
            counts, since the start and since environments were added.
        level: confidence of the noise scale's interval.
    """
    reached: dict[float, GoalReached] = {}
    average, scales = MomentAverage(), RunAverage()
    before: Mapping[str, Any] | None = None
    settling = _Settling(environments)
    steps = 0.0
    for row in rows:
        average.update(row)
        update_run_average(scales, row, row["optimizer_steps"] - steps)
        steps = row["optimizer_steps"]
        settled, score = settling.update(row), row.get("score_mean")
        if score is None or not settled:
            continue
        for goal in goals:
            if goal not in reached and score >= goal:
                reached[goal] = _reached(goal, before, row, average, scales, level)
        before = row
    return [reached.get(goal) for goal in goals]


def run_average(rows: Sequence[Mapping[str, Any]]) -> RunAverage:
    """Returns the sums of a whole run from its rows: S_min, E_min and gamma, whether or not the run logged them."""
    sums, steps = RunAverage(), 0.0
    for row in rows:
        if row.get("optimizer_steps") is None or not row.get("batch_observations"):
            continue  # not a row of training
        update_run_average(sums, row, row["optimizer_steps"] - steps)
        steps = row["optimizer_steps"]
    return sums


def update_run_average(sums: RunAverage, row: Mapping[str, Any], steps: float) -> None:
    """Adds one row of so many optimizer steps, with its smoothed noise scale where that was resolved."""
    scale = row.get("noise/scale") if row.get("noise/resolved") else None
    sums.update(scale, row["batch_observations"], max(0.0, steps))


@final
class _Settling:
    """Counts the games since environments were last added."""

    def __init__(self, environments: int) -> None:
        self._environments, self._episodes, self._since = environments, 0, 0

    def update(self, row: Mapping[str, Any]) -> bool:
        """Adds a row; returns whether its score counts."""
        environments = row.get("num_envs") or self._environments
        if environments > self._environments:
            self._since = self._episodes
        self._environments, self._episodes = environments, row["score_episodes"]
        return bool(self._episodes - self._since >= max(WINDOW, environments))


@final
class MomentAverage:
    """Average noise scale of a run from its rows' raw moments, with the weights of the paper's appendix D."""

    def __init__(self) -> None:
        self._sums = BlockSums(None)
        self._means: tuple[float, float] | None = None  # |G|^2 and trace over the rows before
        self._steps = 0.0

    def update(self, row: Mapping[str, Any]) -> None:
        """Adds one row; skips rows without moments. The first row with moments only sets the gradients' size."""
        steps, self._steps = row["optimizer_steps"] - self._steps, float(row["optimizer_steps"])
        grad_sq, trace = row.get("noise/grad_sq"), row.get("noise/trace")
        if grad_sq is None or trace is None or steps <= 0:
            return
        means, batch = self._means, row["batch_observations"]
        size = 0.0 if means is None else means[0] + means[1] / batch  # of the rows before, at this row's batch
        if means is None or size <= 0:
            self._means = grad_sq, trace
            return
        self._means = means[0] + (grad_sq - means[0]) / SIZE_ROWS, means[1] + (trace - means[1]) / SIZE_ROWS
        self._sums.update(np.array([grad_sq, trace]) / size, steps)

    def estimate(self, level: float = 0.95) -> tuple[float, RatioInterval]:
        """Returns the average in observations, NaN until |G|^2 is positive, and its interval."""
        mean = self._sums.mean()
        if mean is None:
            return math.nan, UNKNOWN
        grad_sq, trace = float(mean[0]), float(mean[1])
        steps, weights, means = self._sums.blocks()
        interval = ratio_interval(
            steps, weights, means[:, 1], means[:, 0], numerator=trace, denominator=grad_sq, level=level
        )
        return (trace / grad_sq if grad_sq > 0 else math.nan), interval


def _reached(
    goal: float,
    before: Mapping[str, Any] | None,
    row: Mapping[str, Any],
    average: MomentAverage,
    scales: RunAverage,
    level: float,
) -> GoalReached:
    share = 1.0
    if before is not None and before["score_mean"] < goal:
        share = (goal - before["score_mean"]) / (row["score_mean"] - before["score_mean"])

    def at(key: str) -> float:
        start = float(before[key]) if before is not None else 0.0
        return start + share * (float(row[key]) - start)

    scale, interval = average.estimate(level)
    return GoalReached(
        goal=goal,
        observations=at("observations"),
        optimizer_steps=at("optimizer_steps"),
        seconds=at("seconds"),
        noise_scale=_known(scale),
        noise_scale_low=_known(interval.low),
        noise_scale_high=_known(interval.high),
        adaptive_gamma=_known(scales.gamma),
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
