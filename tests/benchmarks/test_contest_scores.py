"""Scores of made-up tables whose answer is known."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.contest_scores import CONSTANT, PATH, GoalErrors, Score, factors, scores, shared_goals


def goals(noises: dict[str, float], *, groups: int = 8, factor: float = 1.0, seed: int = 0) -> list[GoalErrors]:
    """Two tasks with two goals in each group; each candidate is the truth times e^noise times a factor."""
    rng = np.random.default_rng(seed)
    found = []
    for group in range(groups):
        for task in range(2):
            base = rng.normal(5, 2)
            for goal in range(2):
                critical = math.exp(base + goal)
                predicted = {
                    name: factor * critical * math.exp(noise * rng.standard_normal()) for name, noise in noises.items()
                }
                found.append(
                    GoalErrors(
                        task=f"{group}-{task}", group=f"group {group}", goal=goal, critical=critical,
                        predicted=predicted,
                    )
                )  # fmt: skip
    return found


def pick(found: Sequence[Score], candidate: str, calibrated: bool = True) -> Score:
    (one,) = (score for score in found if (score.candidate, score.calibrated) == (candidate, calibrated))
    return one


def test_a_copy_of_the_truth_wins_and_noise_does_not() -> None:
    table = goals({PATH: 0.5, "truth": 0.0, "noise": 4.0}, factor=5.0)
    found = scores(table, [PATH, "truth", "noise"])
    truth, noise = (pick(found, name) for name in ("truth", "noise"))
    assert truth.value == pytest.approx(0, abs=1e-12) and truth.less_path_high < 0
    assert pick(found, "truth", calibrated=False).value == pytest.approx(math.log(5))
    assert noise.less_path_low > 0 and noise.less_constant_high > 0, "noise does not even beat the constant"
    assert pick(found, PATH).less_constant_high < 0
    assert pick(found, CONSTANT).less_constant == 0


def test_equals_are_seldom_distinguished() -> None:
    """40 tables of 8 groups: the percentile interval of so few is a little short of 95 %."""
    apart = 0
    for seed in range(40):
        one = pick(scores(goals({PATH: 0.5, "equal": 0.5}, seed=seed), [PATH, "equal"]), "equal")
        apart += not one.less_path_low < 0 < one.less_path_high
    assert apart <= 8


def slow_score(table: Sequence[GoalErrors], name: str, calibrated: bool) -> float:
    """The plan's words, one loop after another. Groups may come several times, as `group#copy`."""
    squares = []
    for task in {goal.task for goal in table}:
        own = [goal for goal in table if goal.task == task]
        real = own[0].group.split("#")[0]
        shift = 0.0
        if calibrated:
            others: dict[str, list[float]] = {}
            for goal in table:
                if goal.group.split("#")[0] != real:
                    value = 1.0 if name == CONSTANT else goal.predicted[name]
                    others.setdefault(goal.task, []).append(-math.log(value / goal.critical))
            shift = float(np.mean([np.mean(one) for one in others.values()]))
        value_of = [1.0 if name == CONSTANT else goal.predicted[name] for goal in own]
        errors = [math.log(value / goal.critical) + shift for value, goal in zip(value_of, own, strict=True)]
        squares.append(np.mean(np.square(errors)))
    return float(np.sqrt(np.mean(squares)))


def test_scores_and_their_intervals_are_the_slow_ones() -> None:
    table = goals({PATH: 0.5, "other": 0.8}, groups=4, factor=2.0)
    found = scores(table, [PATH, "other"])
    for score in found:
        assert score.value == pytest.approx(slow_score(table, score.candidate, score.calibrated))
    names, rng, drawn = [f"group {place}" for place in range(4)], np.random.default_rng(1), []
    for _ in range(400):
        chosen = rng.integers(4, size=4)
        if len(set(chosen)) == 1:
            continue
        sample = [
            dataclasses.replace(goal, group=f"{goal.group}#{copy}", task=f"{goal.task}#{copy}")
            for copy, place in enumerate(chosen)
            for goal in table
            if goal.group == names[place]
        ]
        drawn.append(slow_score(sample, "other", True) - slow_score(sample, PATH, True))
    low, high = np.quantile(drawn, [0.025, 0.975])
    other = pick(found, "other")
    assert (other.less_path_low, other.less_path_high) == pytest.approx((low, high), abs=0.08)


def test_a_task_is_not_calibrated_by_its_near_copy() -> None:
    near = [
        GoalErrors(task=f"a{place}", group="a", goal=0, critical=10.0, predicted={PATH: 100.0}) for place in range(5)
    ]
    others = [GoalErrors(task=name, group=name, goal=0, critical=10.0, predicted={PATH: 10.0}) for name in "bc"]
    assert factors([*near, *others], PATH) == pytest.approx({"a": 1.0, "b": 10 ** (-5 / 6), "c": 10 ** (-5 / 6)})
    leaking = [dataclasses.replace(goal, group=goal.task) for goal in near]
    kept, leaked = (pick(scores([*some, *others], [PATH]), PATH).value for some in (near, leaking))
    assert kept > 1.5 * leaked, "groups that leak look better than they are"


def test_goals_without_a_value_are_missing_for_all_and_counted() -> None:
    table = goals({PATH: 0.1, "other": 0.1}, groups=4)
    table[0] = dataclasses.replace(table[0], predicted={PATH: 10.0})
    table[1] = dataclasses.replace(table[1], predicted={PATH: 10.0, "other": math.nan})
    found = scores(table, [PATH, "other"])
    assert pick(found, "other").missing == 2 and pick(found, PATH).missing == 0
    assert len(shared_goals(table, [PATH, "other"])) == len(table) - 2
    with pytest.raises(ValueError, match="2 groups of tasks have a goal that all candidates predict; 3 are needed"):
        scores(goals({PATH: 0.1}, groups=2), [PATH])
