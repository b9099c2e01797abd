"""When a run reached its goals, and its average noise scale up to there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlgns.critical.goals import predicted_gamma, reach_goals
from rlgns.critical.run_average import AverageEstimate, RunAverage
from tests.reference.critical import slow_run_average


def rows_of(
    scores: list[float | None], *, batch: int = 256, grad_sq: float = 1e-3, trace: float = 0.4
) -> list[dict[str, Any]]:
    return [
        {
            "observations": 1000 * (i + 1),
            "optimizer_steps": 16 * (i + 1),
            "seconds": 2.0 * (i + 1),
            "batch_observations": batch,
            "score_mean": score,
            "score_episodes": 50 * (i + 1),
            "noise/grad_sq": grad_sq,
            "noise/trace": trace,
        }
        for i, score in enumerate(scores)
    ]


def test_the_first_row_that_reaches_a_goal_interpolated() -> None:
    reached = reach_goals(rows_of([None, 1.0, 2.0, 4.0, 3.0, 9.0]), [3.0, 9.0, 10.0, 2.0])
    three, nine, ten, two = reached
    assert three is not None and nine is not None and two is not None and ten is None
    assert (three.goal, three.observations, three.optimizer_steps, three.seconds) == (3, 3500, 56, 7)
    assert (two.observations, nine.observations) == (3000, 6000)


def test_a_score_counts_only_with_a_window_of_games_and_one_per_environment() -> None:
    rows = rows_of([5.0] * 8)
    first, later = reach_goals(rows, [3.0])[0], reach_goals(rows, [3.0], environments=301)[0]
    assert first is not None and first.observations == 2000  # 100 games; nothing before to interpolate from
    assert later is not None and later.observations == 7000  # 350 games
    assert reach_goals(rows, [3.0], environments=401) == [None]


def test_where_environments_are_added_the_count_of_games_begins_anew() -> None:
    """The first games of environments that start together are the short ones, at any time."""
    rows = rows_of([None, 1.0, 2.0, 5.0, 5.0, 5.0, 5.0, 5.0])  # 50 games each
    for row, envs in zip(rows, (4, 4, 4, 128, 128, 128, 8, 8), strict=True):
        row["num_envs"] = envs
    reached = reach_goals(rows, [1.5, 5.0])
    assert [goal.observations for goal in reached if goal] == [2500, 6000]  # 150 games are more than 128
    fixed = reach_goals([{**row, "num_envs": 4} for row in rows], [5.0])[0]
    assert fixed is not None and fixed.observations == 4000


def test_a_goal_passed_before_scores_count_is_flagged() -> None:
    reached = reach_goals(rows_of([1.0, 3.0, 4.0]), [2.0, 3.0, 4.0])  # the second row is the first with 100 games
    assert [goal.passed_before for goal in reached if goal] == [True, False, False]
    assert reached[0] is not None and reached[0].observations == 2000


def test_gamma_leaves_out_an_annealed_learning_rate() -> None:
    """A constant noise scale that only the falling rate raises predicts no gain; the twin without rates sees one."""
    rows = rows_of([1.0] * 40)
    for number, row in enumerate(rows):
        rate = 1 - number / 40
        row |= {"learning_rate": rate, "noise/scale": 100.0 / max(0.02, min(1, 2 * rate)), "noise/resolved": True}
    assert predicted_gamma(rows) == pytest.approx(1)
    assert predicted_gamma([row | {"learning_rate": None} for row in rows]) < 0.95


def test_gamma_up_to_a_goal_is_that_of_the_rows_so_far() -> None:
    rows = rows_of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    for number, row in enumerate(rows):
        row |= {"noise/scale": 100.0 * 4**number, "noise/resolved": number > 0}
    early, late = reach_goals(rows, [3.0, 6.0])
    assert early is not None and late is not None
    assert early.adaptive_gamma == pytest.approx(predicted_gamma(rows[:3]))
    assert late.adaptive_gamma == pytest.approx(predicted_gamma(rows))
    assert reach_goals(rows_of([1.0, 2.0, 3.0]), [3.0])[0].adaptive_gamma is None  # type: ignore[union-attr]


def test_runs_without_rows_or_measurements() -> None:
    assert reach_goals([], [1.0, 2.0]) == [None, None]
    rows = [{**row, "noise/grad_sq": None, "noise/trace": None} for row in rows_of([1.0, 2.0, 3.0])]
    reached = reach_goals(rows, [2.5])[0]
    assert reached is not None
    assert (reached.noise_scale, reached.noise_scale_low, reached.noise_scale_high) == (None, None, None)


def course(count: int, noise: float = 0.0, seed: int = 0, batch: int = 256) -> list[dict[str, Any]]:
    """A noise scale that grows from 100 to 2,000 while gradients shrink tenfold in square."""
    rng = np.random.default_rng(seed)
    progress = np.linspace(0, 1, count)
    rows = rows_of([float(i) for i in range(count)], batch=batch)
    for row, done in zip(rows, progress, strict=True):
        grad_sq = 1e-2 * 10**-done
        row["noise/trace"] = grad_sq * 100 * 20**done
        row["noise/grad_sq"] = grad_sq + noise * grad_sq * rng.standard_normal()
    return rows


def average_of(rows: list[dict[str, Any]]) -> AverageEstimate:
    average, steps = RunAverage(), 0.0
    for row in rows:
        average.update_row(row, row["optimizer_steps"] - steps)
        steps = row["optimizer_steps"]
    return average.estimate()


def test_the_average_is_that_of_appendix_d() -> None:
    rows = course(2000)
    average = average_of(rows)
    plain = [{"trace": row["noise/trace"], "grad_sq": row["noise/grad_sq"], "steps": 16.0} for row in rows]
    truth = slow_run_average(plain, 256)
    assert average.value == pytest.approx(truth, rel=0.01)
    # The twins that are far off: equal weights, and a ratio of plain sums.
    assert abs(np.mean([row["trace"] / row["grad_sq"] for row in plain]) / truth - 1) > 0.2
    assert abs(sum(r["trace"] for r in plain) / sum(r["grad_sq"] for r in plain) / truth - 1) > 0.08
    assert average.resolved


def test_the_average_is_that_of_appendix_d_while_the_batch_changes() -> None:
    """Every row's weight is that of its own batch, also right behind a change."""
    rows = course(2000)
    for number, row in enumerate(rows):
        row["batch_observations"] = 64 * 2 ** (number // 20 % 5)
    average = average_of(rows)
    above = below = 0.0
    for row in rows:
        weight = 1 / (1 + row["noise/trace"] / row["noise/grad_sq"] / row["batch_observations"])
        above, below = above + weight * row["noise/trace"] / row["noise/grad_sq"], below + weight
    assert average.value == pytest.approx(above / below, rel=0.005)


def test_the_average_covers_at_noise_larger_than_the_signal() -> None:
    """80 runs, |G|^2 measured with twice its size as error per row: negative every third row, and no bias."""
    truth = slow_run_average(
        [{"trace": r["noise/trace"], "grad_sq": r["noise/grad_sq"], "steps": 16.0} for r in course(300)], 256
    )
    covered = 0
    for seed in range(80):
        average = average_of(course(300, noise=2.0, seed=seed))
        covered += average.low <= truth <= average.high
    assert covered >= 68  # 76 expected; fewer than 68 once in several thousand


def test_large_gradients_at_the_start_do_not_rule() -> None:
    rows = rows_of([0.0] * 300, trace=0.4)
    for row in rows[:5]:
        row["noise/grad_sq"], row["noise/trace"] = 1.0, 10.0  # noise scale 10, gradients a thousand times as large
    average = average_of(rows)
    assert average.value == pytest.approx(400, rel=0.1)
