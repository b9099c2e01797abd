"""The algorithm on real Atari and real Ray: rows, checkpoints, remote runners and their deaths."""

import dataclasses
import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch
from ray.exceptions import RayError
from ray.rllib.core.learner.training_data import TrainingData

from rlgns.config.schema import EngineConfig
from rlgns.engine.algorithm import AtariPPO
from rlgns.engine.run_settings import TrialSpec
from rlgns.engine.starting import StartWatch, started
from rlgns.envs.config import EnvConfig
from rlgns.machine.placement import Node, Placement, TrialShare
from rlgns.storage import checkpoint
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.engine.tiny import build, tiny
from tests.row_check import check_row

pytestmark = pytest.mark.usefixtures("local_ray")


def test_rows_count_up_and_have_every_key(tmp_path: Path) -> None:
    algorithm = build(tiny(), tmp_path)
    results = [algorithm.train() for _ in range(4)]
    algorithm.stop()
    rows = RunFolder(tmp_path).rows()
    assert rows == json.loads(json.dumps([result["row"] for result in results]))
    for number, row in enumerate(rows, start=1):
        check_row(row)
        assert row["iteration"] == number
        assert row["observations"] == 32 * number
        assert row["frames"] == 128 * number
        assert row["optimizer_steps"] == 4 * number
        assert (row["target_batch_observations"], row["exchange_rate"]) == (None, None)  # the batch is fixed
    # Two batches per iteration are measured. But every second iteration splits one of them by shuffled observations,
    # and the very first batch has no earlier gradient size to be divided by.
    assert [row["noise/updates"] for row in rows] == [1, 2, 4, 5]
    assert [result["done"] for result in results] == [False, False, False, True]


def test_learning_rate_falls_to_zero_over_the_run(tmp_path: Path) -> None:
    algorithm = build(tiny(), tmp_path)
    rates = [algorithm.train()["row"]["learning_rate"] for _ in range(4)]
    algorithm.stop()
    assert rates == pytest.approx([2.5e-4 * left for left in (1, 0.75, 0.5, 0.25)])


def test_a_resumed_run_restores_its_state(tmp_path: Path) -> None:
    first = build(tiny(), tmp_path)
    first._progress = dataclasses.replace(first._progress, episodes=250)  # more than the 100 whose scores are kept
    first.train()
    assert first.train()["row"]["score_episodes"] == 250
    before = first._state()
    first.stop()
    second = build(tiny(), tmp_path)
    after = second._state()
    assert after["iteration"] == 2
    for name in ("observations", "optimizer_steps", "seconds", "scores", "episodes"):
        assert after[name] == before[name]
    assert after["learner"]["noise"] == before["learner"]["noise"]
    for name, value in before["learner"]["network"].items():
        assert torch.equal(after["learner"]["network"][name], value)
    for key, state in before["learner"]["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(after["learner"]["optimizer"]["state"][key][name], value), name
    assert second.train()["row"]["iteration"] == 3
    second.stop()
    assert [row["iteration"] for row in RunFolder(tmp_path).rows()] == [1, 2, 3]


def test_a_run_resumes_from_an_older_checkpoint(tmp_path: Path) -> None:
    first = build(tiny(), tmp_path)
    first.train()
    state = first._state()
    first.stop()
    del state["episodes"], state["learner"]["probe"]
    state["learner"]["noise"]["run_average"] = {"min_steps": 1.0, "min_observations": 2.0}
    checkpoint.save(tmp_path / "checkpoints", 1, state, kept=1)
    second = build(tiny(), tmp_path)
    row = second.train()["row"]
    second.stop()
    assert (row["iteration"], row["score_episodes"]) == (2, len(state["scores"]))


def test_a_gradient_that_is_not_finite_stops_training_without_a_checkpoint(tmp_path: Path) -> None:
    algorithm = build(tiny(), tmp_path)
    assert algorithm.train()["fault"] is None
    with torch.no_grad():
        algorithm._learners.local.network.value_head.bias.fill_(math.nan)
    result = algorithm.train()
    assert result["done"]
    assert "iteration 2: a gradient is not finite" in result["fault"]
    assert "smaller agent.learning_rate than 0.00025" in result["fault"]
    algorithm.stop()
    assert [row["iteration"] for row in RunFolder(tmp_path).rows()] == [1]
    assert [path.name for path in checkpoint.numbered(tmp_path / "checkpoints")] == ["00000001"]


def test_iterations_repeated_after_a_kill_are_not_logged_twice(tmp_path: Path) -> None:
    first = build(tiny(), tmp_path)
    first.train()
    first.train()
    first.train()
    first.stop()
    logged = RunFolder(tmp_path).metrics_path.read_bytes()
    newest, older = checkpoint.numbered(tmp_path / "checkpoints")[::-1][:2]
    (newest / "state.pt").write_bytes(b"torn")
    second = build(tiny(), tmp_path)
    repeated, new = second.train(), second.train()
    second.stop()
    assert older.name.endswith("2")
    assert repeated["replayed"] and not new["replayed"]
    assert RunFolder(tmp_path).metrics_path.read_bytes().startswith(logged)
    rows = RunFolder(tmp_path).rows()
    assert [row["iteration"] for row in rows] == [1, 2, 3, 4]
    assert rows[3]["seconds"] > rows[2]["seconds"] + repeated["row"]["throughput/sample_s"]


def test_a_finished_run_whose_driver_was_killed_trains_no_more(tmp_path: Path) -> None:
    first = build(tiny(), tmp_path)
    assert [first.train()["done"] for _ in range(4)] == [False, False, False, True]
    first.stop()
    second = build(tiny(), tmp_path)
    result = second.train()
    second.stop()
    assert result["done"] and result["replayed"] and result["fault"] is None
    assert [row["iteration"] for row in RunFolder(tmp_path).rows()] == [1, 2, 3, 4]


def test_rollouts_of_wrong_weights_are_refused(tmp_path: Path) -> None:
    algorithm = build(tiny(), tmp_path)
    played = algorithm.env_runner.play(iteration=0, version=3)
    with pytest.raises(RuntimeError, match="runner 0 played with weights of version 3, not 4"):
        algorithm.learner_group.update(
            training_data=TrainingData(batch_refs=[played]),
            timesteps={"iteration": 0, "observations": 0, "version": 4, "sample_s": 0.0},
            defer_solve_refs_to_learner=True,
        )
    algorithm.stop()


def test_remote_runners_deliver_whole_batches_of_the_present_weights(tmp_path: Path) -> None:
    algorithm = build(tiny(runners=2), tmp_path)
    updates = []
    update = algorithm._learners.local.update
    algorithm._learners.local.update = lambda **given: updates.append(given) or update(**given)  # type: ignore[assignment]
    for _ in range(2):
        algorithm.train()
    algorithm.stop()
    rows = RunFolder(tmp_path).rows()
    assert [row["observations"] for row in rows] == [32, 64]
    assert all(len(given["training_data"].batch_refs) == 2 for given in updates)


def pids_of(algorithm: AtariPPO) -> list[int]:
    return algorithm.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)


def test_a_killed_runner_restarts_and_the_batch_stays_whole(tmp_path: Path) -> None:
    algorithm = build(tiny(runners=2), tmp_path)
    StartWatch(lambda *count: None).expect("")  # what earlier tests counted goes
    algorithm.train()
    assert started("") == (4, 4)  # environments, over both processes
    pids = pids_of(algorithm)
    os.kill(pids[0], signal.SIGKILL)
    row = algorithm.train()["row"]
    after = pids_of(algorithm)
    assert started("") == (4, 4)  # those of the new process count once
    algorithm.stop()
    assert row["observations"] == 64
    assert row["noise/updates"] == 2
    assert len(after) == 2 and pids[0] not in after


def test_a_rollout_that_died_with_its_runner_is_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = build(tiny(runners=2), tmp_path)
    algorithm.train()
    group = algorithm.env_runner_group
    ask, pids = group.foreach_env_runner, pids_of(algorithm)

    def ask_and_kill(*given: Any, **named: Any) -> list[Any]:
        monkeypatch.undo()
        answers = ask(*given, **named)
        os.kill(pids[0], signal.SIGKILL)  # it has answered, and still holds its rollout
        with pytest.raises(RayError):  # noqa: PT012  (Ray takes a moment to notice)
            while True:
                for reference, _, _ in answers:
                    ray.get(reference)
        return answers

    monkeypatch.setattr(group, "foreach_env_runner", ask_and_kill)
    result = algorithm.train()
    after = pids_of(algorithm)
    algorithm.stop()
    assert (result["row"]["observations"], result["row"]["noise/updates"]) == (64, 2)
    assert len(after) == 2 and pids[0] not in after


def test_a_silent_runner_is_restarted(tmp_path: Path) -> None:
    algorithm = build(tiny(runners=2, sample_timeout_s=2.0), tmp_path)
    algorithm.train()
    pids = pids_of(algorithm)
    os.kill(pids[1], signal.SIGSTOP)  # silent, but not dead
    row = algorithm.train()["row"]
    after = pids_of(algorithm)
    algorithm.stop()
    assert (row["observations"], row["noise/updates"]) == (64, 2)
    assert len(after) == 2 and pids[1] not in after
    assert not psutil.pid_exists(pids[1])


def test_an_error_that_a_restart_cannot_fix_ends_the_trial_with_its_message(tmp_path: Path) -> None:
    algorithm = build(tiny(runners=2), tmp_path)
    algorithm.env_runner_group.foreach_env_runner(
        lambda runner: setattr(runner, "_game", "no_such_game"), local_env_runner=False, remote_worker_ids=[2]
    )
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*runner 2 failed: \w+: .*no_such_game") as failure:
        algorithm.train()
    algorithm.stop()
    assert str(failure.value).splitlines()[-1].startswith("runner 2 failed: ")  # the line that the user sees
    assert RunFolder(tmp_path).rows() == []


def test_a_runner_that_keeps_dying_ends_the_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = build(tiny(runners=2), tmp_path)
    algorithm.train()
    group, asked = algorithm.env_runner_group, 0
    ask = group.foreach_env_runner

    def ask_for_too_much(*given: Any, **named: Any) -> list[Any]:
        nonlocal asked
        asked += 1
        if 1 in named["remote_worker_ids"]:
            ask(lambda runner: os._exit(1), local_env_runner=False, remote_worker_ids=[1])
        return ask(*given, **named)

    monkeypatch.setattr(group, "foreach_env_runner", ask_for_too_much)
    monkeypatch.setattr("rlgns.engine.runner_group.MOST_DEATHS", 3)
    with pytest.raises(RuntimeError, match="runner 1 died 3 times in iteration 2"):
        algorithm.train()
    monkeypatch.undo()
    algorithm.stop()
    assert asked >= 3
    assert len(RunFolder(tmp_path).rows()) == 1


@pytest.mark.parametrize(("runners", "cpus"), [(1, 1), (2, 2), (2, 4), (5, 2), (6, 6), (12, 7), (0, 2)])
def test_a_trial_requests_no_more_than_its_placement(runners: int, cpus: float, tmp_path: Path) -> None:
    run = dataclasses.replace(tiny(), env=EnvConfig(num_envs=120), engine=EngineConfig(runners=runners))
    placement = Placement.of(run, TrialShare.of([Node(cpus=cpus)], 1))
    trial = TrialSpec(game="pong", num_actions=6, folder=str(tmp_path), placement=placement)
    bundles = AtariPPO.default_resource_request(AtariPPO.configured(run, trial))._bundles
    assert len(bundles) == runners + 1
    ten_thousandths = [math.ceil(bundle["CPU"] * 10_000) for bundle in bundles]  # as Ray counts them
    assert 0 < sum(ten_thousandths) <= cpus * 10_000


def test_runner_n_has_bundle_n(tmp_path: Path) -> None:
    """RLlib places it there. Otherwise a runner would take part of a bundle that a learner waits for."""
    run = dataclasses.replace(tiny(), env=EnvConfig(num_envs=8), engine=EngineConfig(runners=2, learners=2))
    for nodes, learner in ((3, 2.0), (1, 0.5)):
        placement = Placement.of(run, TrialShare.of([Node(cpus=2)] * nodes, 1))
        trial = TrialSpec(game="pong", num_actions=6, folder=str(tmp_path), placement=placement)
        bundles = AtariPPO.default_resource_request(AtariPPO.configured(run, trial)).bundles
        assert (placement.learner_cpus, placement.driver_cpus) == (learner, 0)
        assert [bundle["CPU"] for bundle in bundles] == [learner, *[placement.runner_cpus] * 2, learner]


def test_remote_runners_train_the_same_run_as_local_threads(tmp_path: Path) -> None:
    """Two runners of one thread each own the same environments and random numbers as two threads of one process."""
    rows = {}
    for name, runners in (("local", 0), ("remote", 2)):
        algorithm = build(tiny(runners=runners), tmp_path / name)
        rows[name] = [algorithm.train()["row"] for _ in range(3)]
        algorithm.stop()
    timed = ("seconds", "throughput/", "noise/overhead_fraction")
    for local, remote in zip(rows["local"], rows["remote"], strict=True):
        assert local.keys() == remote.keys()
        for key, value in local.items():
            if not key.startswith(timed) and isinstance(value, float):
                assert remote[key] == pytest.approx(value, rel=1e-3, abs=1e-6), key
