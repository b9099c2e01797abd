"""The noise scale of a run at the paper's score goals, beside the paper's own.

    python -m benchmarks.paper_growth DIR

Prints a table (Markdown), the geometric mean of the ratios, and the growth from the first goal to the last. Two noise
scales of ours are compared: `noise/now` when the mean score first reaches the goal, which is the plan's
(docs/notes/full-runs.md), and the mean over all iterations whose mean score lay within NEAR of the goal, which is less
noisy. A second table has the mean over successive parts of the run, each twice as long as the one before.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import gmean

from rlgns import formatting
from rlgns.critical.goals import WINDOW, reach_goals
from rlgns.critical.run_average import RunAverage
from rlgns.envs.games import find
from rlgns.fit.paper import PaperGoal, paper_goals
from rlgns.storage.run_folder import RunFolder

Row = Mapping[str, Any]

NEAR = 1.5
"""A score belongs to a goal where it lies within this factor of it."""

PARTS = 6
"""Of a run."""

SHARE = 0.01
"""Of the iterations of a part: the largest, without which its noise scale is given too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """A noise scale with its 95 % interval; NaN where not known, high infinite where it is only bounded."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GoalNoise:
    """One goal: when the run reached it, and the noise scales there, in observations."""

    paper: PaperGoal
    observations: float
    now: Noise
    near: Noise


def goal_noise(rows: Sequence[Row], goals: Sequence[PaperGoal], *, environments: int) -> list[GoalNoise]:
    """Returns the goals that the run reached, easiest first."""
    goals = sorted(goals, key=lambda goal: goal.goal_score)
    reached = reach_goals(rows, [goal.goal_score for goal in goals], environments=environments)
    return [
        GoalNoise(
            paper=goal,
            observations=at.observations,
            now=_now(next(row for row in rows if row["observations"] >= at.observations)),
            near=_near(rows, goal.goal_score),
        )
        for goal, at in zip(goals, reached, strict=True)
        if at is not None
    ]


def _now(row: Row) -> Noise:
    value, low, high = (row.get(f"noise/now{end}") for end in ("", "_low", "_high"))
    return Noise(
        value=math.nan if value is None else value,
        low=math.nan if low is None else low,
        high=math.inf if high is None else high,
    )


def _near(rows: Sequence[Row], goal: float) -> Noise:
    average, steps = RunAverage(), 0.0
    for row in rows:
        taken, steps = row["optimizer_steps"] - steps, row["optimizer_steps"]
        counts = row["score_mean"] is not None and (row["score_episodes"] or 0) >= WINDOW
        if counts and goal / NEAR <= row["score_mean"] <= goal * NEAR:
            average.update_row(row, taken)
    noise = average.estimate(0.95)
    return Noise(value=noise.value, low=noise.low, high=noise.high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of a run."""

    begins: float
    """Observations, as `ends`."""
    ends: float
    score: float
    """At its end; NaN where not known."""
    learning_rate: float
    """Mean."""
    noise: Noise
    others: Noise
    """Without the largest SHARE of its iterations, by the sum of the groups' squared gradients."""
    largest: float
    """Share of the sum of |G|^2 that those have."""


def parts(rows: Sequence[Row], groups: int) -> list[Part]:
    """Returns up to PARTS parts of a run, oldest first, each twice as long as the one before; annealed rates count too.

    Parts without a measured row are left out.

    The sum of the groups' squared gradients does not depend on their signs. So which iterations are the largest says
    nothing of the sign of their noise, and leaving them out does not bias |G|^2 where that is all that they have.
    """
    edges = [rows[-1]["observations"] / 2**halvings for halvings in range(PARTS, -1, -1)]
    found = []
    for begins, ends in itertools.pairwise(edges):
        mine = [row for row in rows if begins < row["observations"] <= ends]
        if any(row["noise/grad_sq"] is not None for row in mine):
            found.append(_part(mine, begins, ends, groups))
    return found


def _part(rows: Sequence[Row], begins: float, ends: float, groups: int) -> Part:
    measured = [row for row in rows if row["noise/grad_sq"] is not None]
    grad_sq = np.array([row["noise/grad_sq"] for row in measured])
    size = grad_sq + [groups * row["noise/trace"] / row["batch_observations"] for row in measured]
    largest = np.argsort(size)[-max(1, round(SHARE * len(size))) :]
    left_out = set(largest.tolist())
    score = rows[-1]["score_mean"]
    return Part(
        begins=begins,
        ends=ends,
        score=math.nan if score is None else score,
        learning_rate=float(np.mean([row["learning_rate"] for row in rows])),
        noise=_mean(measured),
        others=_mean([row for place, row in enumerate(measured) if place not in left_out]),
        largest=float(grad_sq[largest].sum() / grad_sq.sum()),
    )


def _mean(rows: Sequence[Row]) -> Noise:
    average = RunAverage()
    for row in rows:
        moments = {"grad_sq": row["noise/grad_sq"], "trace": row["noise/trace"]}
        average.update(**moments, batch=row["batch_observations"], steps=1, learning_rate=None)
    noise = average.estimate(0.95)
    return Noise(value=noise.value, low=noise.low, high=noise.high)


def part_lines(found: Sequence[Part]) -> Iterator[str]:
    """Yields the table of the parts."""
    yield (
        "| observations | score at the end | learning rate | noise scale (95 %) | without the largest 1 % "
        "| their share of G^2 |"
    )
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    for part in found:
        cells = [
            f"{formatting.short(part.begins)} to {formatting.short(part.ends)}",
            formatting.score(part.score),
            formatting.rate(part.learning_rate),
            _interval(part.noise, 1),
            _interval(part.others, 1),
            formatting.percent(part.largest),
        ]
        yield f"| {' | '.join(cells)} |"


def lines(found: Sequence[GoalNoise]) -> Iterator[str]:
    """Yields the table and the two summaries."""
    yield "| score | observations | noise scale now | / paper's | noise scale near the score | / paper's | paper's |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for goal in found:
        cells = [f"{goal.paper.goal_score:g}", formatting.rounded(goal.observations)]
        for noise in (goal.now, goal.near):
            cells += [_interval(noise, 1), _interval(noise, goal.paper.noise_scale)]
        yield f"| {' | '.join(cells)} | {formatting.rounded(goal.paper.noise_scale)} |"
    yield ""
    for name, noises in (("now", [goal.now for goal in found]), ("near the score", [goal.near for goal in found])):
        known = [(goal.paper, noise.value) for goal, noise in zip(found, noises, strict=True) if noise.high < math.inf]
        if not known:
            yield f"Noise scale {name}: at no goal has its interval two ends."
            continue
        mean = gmean([value / paper.noise_scale for paper, value in known])
        text = (
            f"Noise scale {name} / the paper's, geometric mean over the {formatting.plural(len(known), 'goal')} where "
            f"its interval has two ends: {formatting.rounded(float(mean))}"
        )
        (first, before), (last, after) = known[0], known[-1]
        if first is not last:
            growth, papers = after / before, last.noise_scale / first.noise_scale
            text += (
                f"; from score {first.goal_score:g} to {last.goal_score:g} it grew {formatting.rounded(growth)}x, the "
                f"paper's {formatting.rounded(papers)}x"
            )
        yield f"{text}."


def _interval(noise: Noise, unit: float) -> str:
    return formatting.interval(noise.value / unit, noise.low / unit, noise.high / unit)


def main() -> None:
    """Prints the table of one run's folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=RunFolder)
    folder = parser.parse_args().folder
    game = find(folder.about()["game"]).name
    goals = [goal for goal in paper_goals() if find(goal.game).name == game]
    rows = folder.rows()
    found = goal_noise(rows, goals, environments=folder.config()["env"]["num_envs"])
    print(*lines(found), "", *part_lines(parts(rows, folder.config()["noise"]["groups"])), sep="\n")


if __name__ == "__main__":
    main()
