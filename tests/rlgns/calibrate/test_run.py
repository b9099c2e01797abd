"""`rlgns calibrate` on a checkpoint of a real, tiny run: counts, texts and refusals."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rlgns.agents.update import Updater
from rlgns.calibrate import estimator_names as compared
from rlgns.calibrate.estimators import STEPS_EVERY, OnlineEstimators
from rlgns.calibrate.frozen_policy import PlayedSet, play_rounds, prepare_policy
from rlgns.calibrate.result import Calibration
from rlgns.calibrate.run import SETS, calibrate
from rlgns.calibrate.table import tables
from rlgns.commands.cli import main
from rlgns.errors import UserError
from rlgns.noise import group_moments
from rlgns.noise.offline.peer_estimators import across_steps
from rlgns.storage.checkpoint import load_policy
from tests.rlgns.engine.tiny import build, tiny

ROUND = SETS * 4 * 8


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    # The value loss dominates. Its gradient is similar everywhere, so |G|^2 is known after a few rollouts.
    config = tiny()
    path = tmp_path_factory.mktemp("run")
    algorithm = build(replace(config, agent=replace(config.agent, value_coefficient=100.0)), path)
    algorithm.train()
    algorithm.stop()
    return path


@pytest.fixture(scope="module")
def found(run: Path) -> Calibration:
    return calibrate(run, observations=2 * ROUND, precision=0.001)


def test_counts_what_it_played(found: Calibration) -> None:
    assert found.truth.observations == 2 * ROUND
    assert found.truth.environments == 4 * SETS
    assert found.estimate.updates == 2 * SETS * 2 - 1  # the first batch has no size to compare with
    taken = {estimator: series.measurements for estimator, series in found.estimators.series.items()}
    assert taken.pop(compared.ACROSS_STEPS) == taken.pop(compared.GPT_NEOX) == 2 * SETS // STEPS_EVERY
    assert set(taken.values()) == {2 * SETS}


def test_says_that_the_cap_came_first_and_shows_every_estimator(found: Calibration) -> None:
    text = tables(found)
    assert "the cap came first: 0.1 % would take" in text
    assert "at the parameters that played: training's noise/at_rollout/scale, not its noise/scale" in text
    assert ("inside this interval" in text) == found.agrees
    for estimator in found.estimators.series:
        assert f"\n{estimator.name} " in text


def test_stops_when_both_are_known_well_enough(run: Path, found: Calibration) -> None:
    asked = 1.001 * max(found.truth.precision)
    again = calibrate(run, observations=16 * ROUND, precision=asked)
    assert again.truth.observations == found.truth.observations
    assert again.truth.trace == pytest.approx(found.truth.trace, rel=1e-4)  # the same games
    assert "; both known to " in tables(again)


def test_an_interrupt_prints_what_is_known_as_valid_json(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, found: Calibration
) -> None:
    measure = OnlineEstimators.measure

    def interrupted_in_the_second_round(self: OnlineEstimators, played: PlayedSet) -> torch.Tensor:
        if (played.round_index, played.set_index) == (1, 2):
            os.kill(os.getpid(), signal.SIGINT)
        return measure(self, played)

    monkeypatch.setattr(OnlineEstimators, "measure", interrupted_in_the_second_round)
    assert main(["calibrate", str(run), "--observations", "1e6", "--precision", "1e-6", "--json"]) == 130
    printed = capsys.readouterr()
    numbers = json.loads(printed.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert numbers["interrupted"] is True
    assert numbers["truth"]["observations"] == ROUND
    assert set(numbers["estimators"]) == {estimator.name for estimator in found.estimators.series}
    assert "calibrate: starting the games" in printed.err
    assert "what is known so far follows" in printed.err


def test_line_search_measures_b_noise_instead(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(run), "--line-search", "--observations", "384", "--json"]) == 0
    printed = capsys.readouterr()
    numbers = json.loads(printed.out)
    assert numbers["rollouts"] == numbers["hessian"]["updates"] == 9
    assert "line search: 9 of 9" in printed.err
    assert main(["calibrate", str(run), "--line-search", "--observations", "100"]) == 2
    assert "needs at least 352 observations of this policy, got 100" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--observations", "0"], "--observations must be positive, got 0"),
        (["--precision", "1"], "--precision must lie between 0 and 1, got 1"),
        (["--precision", "much"], "--precision: 'much' is not a finite number"),
        (["--seed", "-1"], "--seed must lie between 0 and 999, got -1"),
        (["--observation", "5"], "did you mean --observations?"),
    ],
)
def test_refuses_in_one_line(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(tmp_path), *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out


def test_refuses_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint in"):
        calibrate(tmp_path)


@pytest.fixture
def played(run: Path) -> tuple[PlayedSet, Callable[[], OnlineEstimators], Callable[..., Updater]]:
    """One rollout of a frozen policy, and factories of what measures it."""
    policy = load_policy(run)
    team = prepare_policy(policy)
    games = play_rounds(policy, team, sets=1)
    first = next(games)
    games.close()

    def updater(**settings: object) -> Updater:
        return Updater(policy.network, policy.config.agent, precision="float32", team=team, **settings)  # type: ignore[arg-type]

    return first, lambda: OnlineEstimators(policy, team, sets=1), updater


def test_the_ride_along_measurement_is_that_of_training(
    played: tuple[PlayedSet, Callable[[], OnlineEstimators], Callable[..., Updater]],
) -> None:
    rollout, make_estimators, make_updater = played
    measured = make_estimators()
    measured.measure(rollout)
    trained = []
    updater = make_updater(groups=2, on_groups=lambda rows, split: trained.append(group_moments(rows, 8)))
    updater.update(rollout.rollouts, learning_rate=0.0, seed=(0, 0))
    grad_sq, trace = measured.series[compared.RIDE_ALONG].means()
    assert len(trained) == 2
    assert grad_sq == pytest.approx(np.mean([moments.grad_sq for moments in trained]), rel=1e-4, abs=1e-9)
    assert trace == pytest.approx(np.mean([moments.trace for moments in trained]), rel=1e-4)


def test_optimizer_steps_start_from_the_checkpoint_each_time(
    played: tuple[PlayedSet, Callable[[], OnlineEstimators], Callable[..., Updater]],
) -> None:
    rollout, make_estimators, make_updater = played
    stepper = make_estimators()._optimizer_steps
    first, again = stepper.gram(rollout, (0, 0)), stepper.gram(rollout, (0, 0))
    assert first == pytest.approx(again, rel=1e-5)
    still: list[torch.Tensor] = []
    updater = make_updater(groups=2, on_groups=lambda rows, split: still.append(rows.mean(0)))
    updater.update(rollout.rollouts, learning_rate=0.0, seed=(0, 0))
    assert first[0, 0] == pytest.approx(float(still[0] @ still[0]), rel=1e-4)
    # The second gradient is taken elsewhere: the learning rate is the run's own.
    assert abs(first[1, 1] / float(still[1] @ still[1]) - 1) > 1e-3
    assert across_steps(first, 16).grad_sq == pytest.approx(first[0, 1])
