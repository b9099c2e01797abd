"""What the page says in words, of adaptive batches and of games, from made-up tables."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.evidence_adaptive import adaptive_section, read_gains
from benchmarks.evidence_batch import batch_section, exponent
from benchmarks.evidence_calibration import calibration_section
from benchmarks.evidence_contest import contest_section
from benchmarks.evidence_data import (
    AS_SWEPT,
    GAME_CANDIDATES,
    TaskResult,
    add_sweep,
    group_of,
    load_tasks,
)
from benchmarks.evidence_growth import noise_by_loss, noise_by_score
from benchmarks.evidence_growth_figures import loss_traces, score_traces
from benchmarks.evidence_summary import found_section
from examples.tasks.adaptive import CONSTANT, SWEPT
from rlgns.critical.points import fit_points
from tests.benchmarks.evidence_points import points


def task_of(name: str, critical: float, noise: float) -> TaskResult:
    """A task with two goals, the second with four times the critical batch and noise scale."""
    some = [*points(-1, critical, noise), *points(-0.1, 4 * critical, 4 * noise, seed=1)]
    some = [dataclasses.replace(point, game=name) for point in some]
    return TaskResult(name=name, group=group_of(name), fits={AS_SWEPT: tuple(fit_points(some))}, rows=(), source={})


def found(tasks: list[TaskResult], folder: Path) -> str:
    return "\n".join(found_section(tasks, tasks, folder))


def test_what_was_found_is_said_in_words(tmp_path: Path) -> None:
    near = [task_of("digits-sgd", 10, 12.0), task_of("mnist-conv", 20, 20.0), task_of("qbert", 40, 50.0)]
    text = found(near, tmp_path)
    assert "**the noise scale predicts the critical batch**" in text
    assert "under PPO on Atari (2 goals)" in text and "under SGD (4 goals)" in text
    assert "times (3 of 3). At different rates" in text
    far = [task_of("digits-sgd", 10, 500.0), task_of("mnist-conv", 20, 20.0), task_of("qbert", 40, 1.0)]
    assert "By the plan's rule the result is **inconclusive**" in found(far, tmp_path)
    assert "Nothing is decided yet" in found(near[:2], tmp_path)


def test_each_game_is_predicted_from_the_others() -> None:
    games = [task_of(name, critical, 3 * critical) for name, critical in (("qbert", 10), ("pong", 20), ("alien", 40))]
    text = "\n".join(calibration_section(games))
    assert "Fitted to 6 goals of 3 games with two-sided intervals. Noise scale / critical batch is 2.8. " in text
    assert "Inside: 6 of 6 goals. " in text and "as a user has it: 84 of 84 runs" in text
    wrong = [*games[:2], task_of("alien", 40, 40_000.0)]
    assert "| alien | -1 |" in "\n".join(calibration_section(wrong))
    assert "Inside: 6 of 6 goals. " not in "\n".join(calibration_section(wrong))
    assert "None is shipped: 3 games need" in calibration_section(games[:2])[0]


def test_the_noise_scale_by_batch_is_a_power_of_it() -> None:
    task = task_of("mnist-vae", 20, 30.0)
    grown = [
        dataclasses.replace(point, noise_scale=3 * point.batch_observations**0.5) for point in task.goals[-1].points
    ]
    goal = dataclasses.replace(task.goals[-1], points=tuple(grown))
    found = exponent(goal)
    assert (found.low, found.value, found.high) == pytest.approx((0.5, 0.5, 0.5))
    flat = exponent(task.goals[-1])
    assert flat.low < 0 < flat.high and flat.high - flat.low < 0.2
    text = "\n".join(batch_section([dataclasses.replace(task, fits={AS_SWEPT: (goal,)})]))
    assert "| mnist-vae | 0.1 | 8: 8.5 | 512: 68 | 0.50 (0.50 to 0.50) |" in text


def adaptive_table(path: Path, ratio: float) -> Path:
    """16 pairs whose adaptive runs cost `ratio` times the fixed one, with 5 % scatter; one has not reached the goal."""
    rng = np.random.default_rng(0)
    lines = ["game,goal_score,batch_mode,seed,optimizer_steps,observations,cost,largest_batch,gamma"]
    for seed in range(16):
        lines.append(f"toy,-1,fixed,{seed},100,1000,4,64,0.81")
        for mode in (SWEPT, CONSTANT):
            cost = 4 * ratio * math.exp(0.05 * rng.standard_normal())
            end = f"{100 * ratio},{1000 * ratio},{cost},64,0.9" if seed else ",,,64,"
            lines.append(f'toy,-1,"{mode}",{seed},{end}')
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_gain_of_an_adaptive_batch_is_that_of_its_pairs(tmp_path: Path) -> None:
    gains = read_gains(adaptive_table(tmp_path / "adaptive" / "toy.csv", 0.9))
    assert [gain.mode for gain in gains] == ["swept rates", "constant rate"]
    for gain in gains:
        assert (gain.pairs, gain.of) == (15, 16) and gain.predicted == pytest.approx(0.95)
        assert gain.low < 0.9 < gain.high and gain.high / gain.low < 1.1
        assert gain.steps == pytest.approx(0.9) and gain.observations == pytest.approx(0.9)
    assert "| toy | swept rates | 15 of 16 | 0.95 | " in "\n".join(adaptive_section(tmp_path))
    assert adaptive_section(tmp_path / "none") == ["No task has adaptive runs yet."]


def game_sweep(path: Path) -> Path:
    """A sweep of Qbert on disk: one run per batch, whose noise scale is 100, at the rollout 200, the policy's 50."""
    points_lines = ["game,goal_score,batch_observations,optimizer_steps,observations,seed,run,noise_scale"]
    for batch in (64, 128, 256, 512):
        run, steps = f"qbert-b{batch}", 400 * (1 + 100 / batch)
        (path / "runs" / run).mkdir(parents=True)
        rows = [
            {
                "optimizer_steps": 4 * number, "observations": 4 * number * batch, "seconds": float(number),
                "iteration": number, "batch_observations": batch, "num_envs": 8,
                "score_mean": 160 + 560 * number / steps,
                "score_episodes": 100 + number,
                "noise/grad_sq": 1.0, "noise/trace": 100.0, "noise/at_rollout/grad_sq": 1.0,
                "noise/at_rollout/trace": 200.0,
                "noise/by_loss/policy/grad_sq": 2.0 if number % 3 == 0 else None,
                "noise/by_loss/policy/trace": 100.0 if number % 3 == 0 else None,
            }
            for number in range(1, 401)
        ]  # fmt: skip
        (path / "runs" / run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        points_lines.append(f"qbert,300,{batch},{steps},{steps * batch},0,{run},100")
    (path / "points.csv").write_text("\n".join(points_lines) + "\n")
    (path / "sweep.yaml").write_text("sweep: {seeds: [0]}\nconfig: {}\nabout: {git: abc}\n")
    return path


def test_a_game_is_taken_over_with_its_own_candidates(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    assert add_sweep(game_sweep(tmp_path / "sweep"), folder) == "qbert"
    (task,) = load_tasks(folder)
    assert task.source == {"commit": "abc", "seeds": [0]} and task.group == "qbert"
    values = {name: {point.noise_scale for point in task.fits[name][0].points} for name in GAME_CANDIDATES}
    assert values == {"path": {100.0}, "played": {200.0}, "policy": {50.0}}
    assert len(task.rows) == 4 * 200, "a run of 400 rows is kept as 200 blocks"
    assert noise_by_loss(task) == []
    curve = noise_by_score(task)
    assert len(curve) > 2 and [noise for _, noise in curve] == pytest.approx([100.0] * len(curve))
    assert score_traces([task]) is not None and loss_traces([task]) is None
    assert "| qbert | 300 | " in "\n".join(contest_section([task]))


def test_rows_that_do_not_reach_a_point_are_refused(tmp_path: Path) -> None:
    sweep = game_sweep(tmp_path / "sweep")
    file = sweep / "runs" / "qbert-b64" / "metrics.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:50]))
    with pytest.raises(ValueError, match="qbert-b64 does not reach 300 in its rows"):
        add_sweep(sweep, tmp_path / "tables")
