"""`rlgns calibrate` on a checkpoint of a real, tiny run: counts, texts and refusals."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlgns.agents.update import Updater
from rlgns.calibrate import estimator_names as compared
from rlgns.calibrate.estimators import OnlineEstimators
from rlgns.calibrate.frozen_policy import PlayedSet, play_rounds, prepare_policy
from rlgns.calibrate.replay import MEASURERS, OptimizerSteps, Replays, step_weights
from rlgns.calibrate.result import Calibration
from rlgns.calibrate.run import SETS, calibrate
from rlgns.calibrate.table import tables
from rlgns.calibrate.verdict import verdict
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
    return calibrate(run, observations=4 * ROUND - ROUND // 2, precision=0.001)


STEPPERS = SETS - MEASURERS


def test_counts_what_it_played(found: Calibration) -> None:
    assert found.observations == 4 * ROUND  # to within a round of what was asked for
    assert len(found.rounds) == 4
    used = 4 - found.burn_in.first
    assert 1 <= used <= 3, "the first round is never used"
    assert found.truth.observations == used * ROUND
    assert found.truth.environments == 4 * SETS
    assert found.path is not None
    assert found.path.replays == used * STEPPERS
    assert found.live_sets["at_rollout"].together.updates == used * SETS * 2 - 1  # the first has none to compare with
    assert len(found.live_sets["at_rollout"].estimates) == SETS
    assert len(found.live_sets["along_steps"].estimates) == STEPPERS
    taken = {estimator: series.measurements for estimator, series in found.series.items()}
    for estimator in (compared.RIDE_ALONG, compared.ACROSS_STEPS, compared.GPT_NEOX):
        assert taken.pop(estimator) == used * STEPPERS
    assert set(taken.values()) == {used * SETS}


def test_says_that_the_cap_came_first_and_shows_every_estimator(found: Calibration) -> None:
    text = tables(found)
    assert "the cap came first: 0.1 % would take" in text
    assert max(map(len, text.replace(str(found.checkpoint), "").splitlines())) <= 80
    for estimator in found.series:
        assert f"\n{estimator.name} " in text


def test_ends_with_both_noise_scales_and_whether_the_run_agrees(found: Calibration) -> None:
    last = tables(found).split("\n\n")[-1]
    assert last.startswith("Noise scale along the steps: ")
    assert "\nNoise scale at the parameters that played: " in last
    # One iteration is too few for an interval: the run logged none.
    assert "The run's own noise/now is not known here." in last


@pytest.mark.parametrize(
    ("scale", "low", "high", "says"),
    [
        (1.0, 0.8, 1.2, "agrees: 1.0 times brute force (0.71 to 1.4)."),
        (0.5, 0.4, 0.6, "DIFFERS: 0.50 times brute force (0.35 to 0.70)."),
        (None, 0.9, None, "agrees as far as the bounds tell."),
        (None, 3.0, None, "DIFFERS: at least 2.3 times brute force."),
    ],
)
def test_its_last_lines_compare_the_runs_own_number(
    found: Calibration, scale: float | None, low: float, high: float | None, says: str
) -> None:
    truth = replace(found.truth, noise_scale=1000.0, noise_scale_low=750.0, noise_scale_high=1300.0)
    at_rollout = {"": scale, "_low": low, "_high": high}
    row = {f"noise/at_rollout/now{end}": value and 1000 * value for end, value in at_rollout.items()}
    lines = verdict(replace(found, truth=truth, row=row))
    assert "Noise scale at the parameters that played: 1,000 (750 to 1,300) observations." in lines
    assert any(line.strip() == says for line in lines), lines
    assert max(map(len, lines)) <= 80


def test_its_table_by_round_says_which_are_used(found: Calibration) -> None:
    lines = tables(found).split("\n\n")[1].splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["0", "1", "2", "3"]
    assert [line.endswith("used") for line in lines] == [index >= found.burn_in.first for index in range(4)]


def test_the_profile_starts_where_the_games_were_played(run: Path, found: Calibration) -> None:
    """At theta_0 the measurers' own gradients, computed once more by another network, are those of brute force."""
    policy = load_policy(run)
    team = prepare_policy(policy)
    estimators, replays = OnlineEstimators(policy, team, sets=SETS), Replays(policy, team, sets=SETS)
    games = play_rounds(policy, team, sets=SETS)
    first = [next(games) for _ in range(SETS)]
    rows = [estimators.measure(played) for played in first]
    measuring = [first[index] for index in replays.measurers]
    for stepper in list(replays.steppers)[:2]:
        replays.replay(first[stepper], measuring)
    games.close()
    found_here = replays.truth.result()
    assert found_here is not None
    means = [rows[index].mean(0) for index in replays.measurers]
    pairs = [float(means[i] @ means[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found_here.profile[0].grad_sq == pytest.approx(np.mean(pairs), rel=1e-4)
    own = np.mean([float(rows[index].square().sum(1).mean()) for index in replays.measurers])
    assert found_here.profile[0].trace == pytest.approx(8 * (own - np.mean(pairs)), rel=1e-4)
    assert found_here.profile[1].grad_sq != pytest.approx(np.mean(pairs), rel=1e-6), "a step moves the parameters"


def test_the_first_step_weighs_what_training_measures_of_it() -> None:
    config = tiny()
    assert step_weights(config) == [0.5, 1.0]  # every second first batch is split by observations
    never = replace(config, noise=replace(config.noise, shuffled_every=0))
    assert step_weights(never) == [1.0, 1.0]


def test_stops_when_all_is_known_well_enough(run: Path, found: Calibration) -> None:
    again = calibrate(run, observations=32 * ROUND, precision=0.999)
    assert again.enough
    assert again.observations < 32 * ROUND
    assert "all known to 100 %" in tables(again)
    shared = min(len(again.rounds), len(found.rounds))
    np.testing.assert_allclose(again.rounds[:shared], found.rounds[:shared], rtol=1e-4)  # the same games
    assert not replace(again, precision=0.999 * max(again.precision_reached.values())).enough
    assert not replace(again, burn_in=replace(again.burn_in, agrees=False)).enough


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_prints_what_is_known_as_valid_json(
    number: int,
    code: int,
    run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    found: Calibration,
) -> None:
    measure = OnlineEstimators.measure

    def interrupted_in_the_second_round(self: OnlineEstimators, played: PlayedSet) -> torch.Tensor:
        if (played.round_index, played.set_index) == (1, 2):
            os.kill(os.getpid(), number)
        return measure(self, played)

    monkeypatch.setattr(OnlineEstimators, "measure", interrupted_in_the_second_round)
    assert main(["calibrate", str(run), "--observations", "1e6", "--precision", "1e-6", "--json"]) == code
    printed = capsys.readouterr()
    numbers = json.loads(printed.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert numbers["interrupted"] is True
    assert numbers["at_rollout"]["observations"] == ROUND
    assert numbers["along_steps"] is None
    assert set(numbers["estimators"]) == {estimator.name for estimator in found.estimators.series}
    assert "calibrate: starting the games" in printed.err
    assert " observations at most: about " in printed.err
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
def played(run: Path) -> tuple[PlayedSet, Callable[[Any], Any], Callable[..., Updater]]:
    """One rollout of a frozen policy, and factories of what measures it."""
    policy = load_policy(run)
    team = prepare_policy(policy)
    games = play_rounds(policy, team, sets=1)
    first = next(games)
    games.close()

    def updater(**settings: object) -> Updater:
        return Updater(policy.network, policy.config.agent, precision="float32", team=team, **settings)  # type: ignore[arg-type]

    return first, lambda kind: kind(policy, team), updater


def test_the_ride_along_measurement_is_that_of_training(
    played: tuple[PlayedSet, Callable[[Any], Any], Callable[..., Updater]],
) -> None:
    rollout, make, make_updater = played
    measured = make(lambda policy, team: OnlineEstimators(policy, team, sets=1))
    measured.measure(rollout)
    trained = []
    updater = make_updater(groups=2, on_groups=lambda rows, split: trained.append(group_moments(rows, 8)))
    updater.update(rollout.rollouts, learning_rate=0.0, seed=(0, 0))
    grad_sq, trace = measured.series[compared.RIDE_ALONG_STILL].means()
    assert len(trained) == 2
    assert grad_sq == pytest.approx(np.mean([moments.grad_sq for moments in trained]), rel=1e-4, abs=1e-9)
    assert trace == pytest.approx(np.mean([moments.trace for moments in trained]), rel=1e-4)


def test_optimizer_steps_start_from_the_checkpoint_each_time(
    played: tuple[PlayedSet, Callable[[Any], Any], Callable[..., Updater]],
) -> None:
    rollout, make, make_updater = played
    steps = make(OptimizerSteps)

    def gram() -> np.ndarray:
        means: list[torch.Tensor] = []
        steps.take(rollout, (0, 0), lambda rows, _: means.append(rows.mean(0)))
        return (torch.stack(means) @ torch.stack(means).T).double().numpy()

    first, again = gram(), gram()
    assert first == pytest.approx(again, rel=1e-5)
    still: list[torch.Tensor] = []
    updater = make_updater(groups=2, on_groups=lambda rows, split: still.append(rows.mean(0)))
    updater.update(rollout.rollouts, learning_rate=0.0, seed=(0, 0))
    assert first[0, 0] == pytest.approx(float(still[0] @ still[0]), rel=1e-4)
    # The second gradient is taken elsewhere: the learning rate is the run's own.
    assert abs(first[1, 1] / float(still[1] @ still[1]) - 1) > 1e-3
    assert across_steps(first, 16).grad_sq == pytest.approx(first[0, 1])
