r"""When a run reached its score goals, and the average noise scale of the run up to there.

**The score** is `score_mean`, the mean of the last 100 full games. When many environments start together, the first
games to end are short ones, and in most games a short one is a poor one (in Pong, a quick defeat). So no score counts
before WINDOW full games have ended, and as many as there are environments; when an adaptive batch adds environments,
the count starts again. A mean of fewer games would also be noisier and pass a goal too early. Between the row before
and the row that reaches the goal all amounts are interpolated, linearly in the score: an iteration of a large batch is
a large step.

**The average noise scale** up to there is `RunAverage`'s, from the rows' raw moments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from rlgns.critical.gamma import PredictedGamma
from rlgns.critical.run_average import RunAverage
from rlgns.critical.tuned_rate import TunedRate

WINDOW = 100
"""Full games after which `score_mean` counts."""


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
    passed_before: bool = False
    """Whether the score was above the goal when it first counted, so that the goal was reached earlier or by luck."""
    adaptive_gamma: float | None = None
    """gamma predicted for an adaptive batch up to the goal, from the smoothed noise scale (`PredictedGamma`)."""


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
    average, gamma = RunAverage(), _Gamma()
    before: Mapping[str, Any] | None = None
    settling = _Settling(environments)
    steps = 0.0
    for row in rows:
        average.update_row(row, max(0.0, row["optimizer_steps"] - steps))
        gamma.update(row, row["optimizer_steps"] - steps)
        steps = row["optimizer_steps"]
        settled, score = settling.update(row), row.get("score_mean")
        if score is None or not settled:
            continue
        for goal in goals:
            if goal not in reached and score >= goal:
                reached[goal] = _reached(goal, before, row, average, gamma, level)
        before = row
    return [reached.get(goal) for goal in goals]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shortfall:
    """How near a run came to scores that count."""

    games: int
    """Full games that ended, since environments were last added."""
    needed: int
    """As many must end before a score counts."""
    best_score: float | None
    """Best mean score among the rows that count; None where none does."""
    observations: int
    """Played."""


def shortfall(rows: Sequence[Mapping[str, Any]], *, environments: int = 1) -> Shortfall:
    """Returns how near a run came to scores that count; the arguments are those of `reach_goals`."""
    settling, best = _Settling(environments), None
    for row in rows:
        if settling.update(row) and row.get("score_mean") is not None:
            best = max(row["score_mean"], row["score_mean"] if best is None else best)
    played = int(rows[-1]["observations"]) if rows else 0
    return Shortfall(games=settling.games, needed=settling.needed, best_score=best, observations=played)


def predicted_gamma(rows: Sequence[Mapping[str, Any]]) -> float:
    """Returns gamma of a run while its learning rate is as tuned; NaN where no such row has a resolved noise scale."""
    gamma, steps = _Gamma(), 0.0
    for row in rows:
        if row.get("optimizer_steps") is None or not row.get("batch_observations"):
            continue  # not a row of training
        gamma.update(row, row["optimizer_steps"] - steps)
        steps = row["optimizer_steps"]
    return gamma.value


@final
class _Gamma:
    """Gamma from rows: an annealed learning rate raises the noise scale by itself, so its steps are left out."""

    def __init__(self) -> None:
        self._gamma, self._rate = PredictedGamma(), TunedRate()

    def update(self, row: Mapping[str, Any], steps: float) -> None:
        """Adds one row of so many optimizer steps, with its smoothed noise scale where that was resolved."""
        tuned = self._rate.update(row.get("learning_rate"), row["batch_observations"])
        scale = row.get("noise/scale") if tuned and row.get("noise/resolved") else None
        self._gamma.update(scale, row["batch_observations"], max(0.0, steps))

    @property
    def value(self) -> float:
        """Gamma so far; NaN where nothing counts."""
        return self._gamma.value


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
        self._environments, self._episodes = environments, row["score_episodes"] or 0
        return self.games >= self.needed

    @property
    def games(self) -> int:
        """Games since environments were last added."""
        return self._episodes - self._since

    @property
    def needed(self) -> int:
        """As many games must end before a score counts."""
        return max(WINDOW, self._environments)


def _reached(
    goal: float,
    before: Mapping[str, Any] | None,
    row: Mapping[str, Any],
    average: RunAverage,
    gamma: _Gamma,
    level: float,
) -> GoalReached:
    share = 1.0
    if before is not None and before["score_mean"] < goal:
        share = (goal - before["score_mean"]) / (row["score_mean"] - before["score_mean"])

    def at(key: str) -> float:
        start = float(before[key]) if before is not None else 0.0
        return start + share * (float(row[key]) - start)

    noise = average.estimate(level)
    return GoalReached(
        goal=goal,
        observations=at("observations"),
        optimizer_steps=at("optimizer_steps"),
        seconds=at("seconds"),
        noise_scale=_known(noise.value),
        noise_scale_low=_known(noise.low),
        noise_scale_high=_known(noise.high),
        passed_before=before is None and row["score_mean"] > goal,
        adaptive_gamma=_known(gamma.value),
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
