"""The noise scale at the paper's goals: rows with known moments give their ratio; missed goals are left out."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from benchmarks.paper_growth import PARTS, goal_noise, lines, part_lines, parts
from rlgns.fit.paper import PaperGoal

GOALS = [
    PaperGoal(game="Breakout", goal_score=score, critical_batch=1.0, noise_scale=noise)
    for score, noise in ((100, 400.0), (10, 200.0), (500, 800.0))
]


def rows() -> list[dict[str, Any]]:
    """A run whose score is 1 to 200 and whose noise scale is ten times its score, in every row."""
    return [
        {
            "iteration": step,
            "observations": 160 * step,
            "optimizer_steps": step,
            "seconds": float(step),
            "batch_observations": 160,
            "num_envs": 32,
            "learning_rate": 1e-3,
            "score_mean": step / 10,
            "score_episodes": 10 * step,
            "noise/grad_sq": 1.0,
            "noise/trace": float(step),
            "noise/scale": float(step),
            "noise/resolved": True,
            "noise/now": float(step),
            "noise/now_low": step / 2,
            "noise/now_high": step * 2.0 if step > 500 else None,
        }
        for step in range(10, 2001)
    ]


def test_reached_goals_have_the_noise_scale_of_their_rows() -> None:
    easy, hard = goal_noise(rows(), GOALS, environments=32)
    assert (easy.paper.goal_score, hard.paper.goal_score) == (10, 100)
    assert (easy.observations, hard.observations) == (16_000, 160_000)
    assert (easy.now.value, easy.now.high, hard.now.high) == (100, math.inf, 2000)
    # From 2/3 to 3/2 of the goal, where the moments' mean weighs the gradients' recent size
    assert 667 < hard.near.value < 1500
    assert hard.near.low < hard.near.value < hard.near.high


def test_parts_double_and_have_the_noise_scale_of_their_rows() -> None:
    run = rows()
    for row in run:
        row |= {"noise/trace": 100.0 if row["iteration"] <= 1000 else 900.0, "learning_rate": 1e-3 / row["iteration"]}
    run[-1]["noise/grad_sq"] = 1000.0
    found = parts(run, 2)
    assert len(found) == PARTS and (found[-1].begins, found[-1].ends) == (160_000, 320_000)
    assert all(one.ends == other.begins and one.ends < other.ends for one, other in itertools.pairwise(found))
    assert found[-2].noise.value == pytest.approx(100)  # though the rate has fallen to less than half
    assert found[-2].largest == pytest.approx(0.01) and found[-1].largest == pytest.approx(1009 / 1999)
    assert found[-1].others.value == pytest.approx(900)
    assert "| 160k to 320k | 200.0 |" in list(part_lines(found))[-1]


def test_ratios_and_growth_are_those_of_the_goals() -> None:
    table = list(lines(goal_noise(rows(), GOALS, environments=32)))
    assert "| at least 50 | at least 0.25 |" in table[2]
    assert "| 1,000 (500 to 2,000) | 2.5 (1.2 to 5.0) |" in table[3]
    assert table[5].endswith("geometric mean over the 1 goal where its interval has two ends: 2.5.")
    assert table[6].endswith(
        "the 2 goals where its interval has two ends: 1.2; from score 10 to 100 it grew 9.7x, the paper's 2.0x."
    )
    assert list(lines([]))[-1] == "Noise scale near the score: at no goal has its interval two ends."
