"""Adaptive batches of tasks: how a run is steered, and the command beside a sweep."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import pytest

from examples.tasks import adaptive
from examples.tasks.__main__ import main
from examples.tasks.adaptive import CONSTANT, FIXED, SWEPT, Follow, Setup, setup_of
from examples.tasks.problem import make_problem
from examples.tasks.settings import find_task
from examples.tasks.trial import goals_reached, train
from rlgns.critical.points import GoalFit, Point, fit_points
from rlgns.errors import UserError
from rlgns.noise import NoiseScaleEstimate, NoiseScaleTracker


def fits(noise: float = 20.0) -> list[GoalFit]:
    """Two goals with critical batches of 10 and 40 and the best rate 0.01 sqrt(batch)."""
    return fit_points(
        [
            Point(
                game="toy", goal_score=goal, batch_observations=batch, optimizer_steps=100 * (1 + critical / batch),
                observations=100 * (batch + critical), learning_rate=0.01 * math.sqrt(batch), seed=0, run=f"b{batch}",
                noise_scale=noise, noise_scale_low=noise / 2, noise_scale_high=2 * noise,
            )
            for goal, critical in ((-1.0, 10.0), (-0.1, 40.0))
            for batch in (4, 8, 16, 32, 64, 128)
        ]
    )  # fmt: skip


def estimate(value: float) -> NoiseScaleEstimate:
    ends = {"noise_scale": value, "low": value / 1.1, "now_low": value / 1.1, "high": value * 1.1}
    return dataclasses.replace(NoiseScaleTracker().estimate(), **ends, now_high=value * 1.1, resolved=True)


def steered(setup: Setup, noise: list[float]) -> list[int]:
    follow = Follow(setup, setup.first, setup.tiers)
    return [follow(step, estimate(scale))[0] for step, scale in enumerate(noise, start=1)]


def test_the_setup_is_that_of_the_sweep() -> None:
    setup = setup_of(fits(), per_draw=1)
    assert (setup.first, setup.fixed, setup.tiers) == (8, 32, (4, 8, 16, 32, 64, 128))
    assert setup.rates[16] == pytest.approx(0.04) and setup.goal.goal_score == -0.1
    with pytest.raises(UserError, match="needs critical batch and noise scale at the hardest goal"):
        setup_of(fits(noise=math.nan), per_draw=1)


def test_the_batch_follows_the_noise_scale() -> None:
    """Twice the noise scale is the critical batch here: B = sqrt(40 * 2 N) is 8 at N = 0.8 and 80 at N = 80."""
    setup = setup_of(fits(), per_draw=1)
    assert set(steered(setup, [0.8] * 40)) == {8}
    grown = steered(setup, [80.0] * 60)
    assert grown[0] == 8 and grown[-1] == 64 and grown == sorted(grown)
    assert min(grown.count(batch) for batch in (16, 32)) >= 8, "a batch is held for 8 steps"
    assert steered(setup, [80.0] * 60 + [0.8] * 60)[-1] == 8
    assert set(steered(setup, [math.nan] * 20)) == {8}, "nothing is known"


def test_steps_of_a_steered_run_add_up() -> None:
    settings = dataclasses.replace(find_task("digits-adam"), goals=(1.0,), width=8)
    batches = [16, 16, 32, 64, 64, 32]

    def steer(step: int, _: NoiseScaleEstimate) -> tuple[int, float]:
        return batches[min(step, 6) - 1], 0.02

    rows = train(
        make_problem(settings), settings, batch=16, learning_rate=0.02, seed=0,
        over=lambda own: -1.0 in own.reached or own.observations > 50_000, steer=steer,
    )  # fmt: skip
    assert [row["observations"] for row in rows[1:7]] == [16, 32, 64, 128, 192, 224]
    (goal,) = goals_reached(rows, settings, 16)
    assert goal.observations == pytest.approx(224 + 32 * (goal.optimizer_steps - 6))


def test_a_steered_run_with_one_batch_is_the_fixed_run() -> None:
    settings = dataclasses.replace(find_task("digits-adam"), goals=(1.0,), width=8)
    setup = dataclasses.replace(setup_of(fits(), per_draw=1), rates={32: 0.01})

    def run(follow: Follow | None) -> list[tuple[object, ...]]:
        rows = train(
            make_problem(settings), settings, batch=32, learning_rate=0.01, seed=0,
            over=lambda own: own.observations >= 32 * 40, steer=follow,
        )  # fmt: skip
        return [(row["step"], row["loss"], row["grad_sq"], row["trace"]) for row in rows]

    assert run(Follow(setup, 32, (32,))) == run(None)


def test_the_command_trains_pairs_of_new_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # one process: the seeds of this test are not known to another
    monkeypatch.setattr(adaptive, "SEEDS", (100, 101))
    few = ["digits-adam", "--goals", "1.5", "1.0", "--batches", "8", "16", "32", "64", "128", "--seeds", "0", "1"]
    folder = str(tmp_path / "sweep")
    assert main([*few, "--adaptive", folder]) == 2
    assert "no points.csv there; run the sweep first" in capsys.readouterr().err
    assert main([*few, "--sweep", folder, "--adaptive", folder]) == 2
    assert main([*few, "--learning-rates", "3", "--widenings", "1", "--sweep", folder]) == 0
    assert main([*few, "--learning-rates", "3", "--widenings", "1", "--adaptive", folder]) == 0
    with (tmp_path / "sweep" / "adaptive.csv").open(newline="") as text:
        lines = list(csv.DictReader(text))
    modes = [FIXED, SWEPT, CONSTANT]
    assert [(line["batch_mode"], line["seed"]) for line in lines] == [
        (mode, seed) for seed in ("100", "101") for mode in modes
    ]
    assert all(2 < float(line["cost"]) < 12 for line in lines)
    assert len({line["largest_batch"] for line in lines if line["batch_mode"] == FIXED}) == 1
