"""The adaptive batch on real Atari and real Ray: tiers of environments, batch sizes, remote runners, resume."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlgns.agents.compute.team import Team
from rlgns.config.schema import Config
from rlgns.critical.adaptive_config import AdaptiveConfig
from rlgns.engine import algorithm as algorithm_module
from rlgns.engine.algorithm import AtariPPO
from rlgns.engine.collect import Collectors
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.engine.test_collect import make_network, same
from tests.rlgns.engine.tiny import build, tiny
from tests.row_check import check_row


def adaptive(*, runners: int = 0) -> Config:
    """4 environments at the start, from 4 to 16; 8 steps, 2 minibatches: batches of 16 to 64 observations."""
    run = tiny(runners=runners)
    return dataclasses.replace(
        run,
        run=dataclasses.replace(run.run, observations=100_000),
        agent=dataclasses.replace(run.agent, batch="adaptive", anneal=False),
        adaptive=AdaptiveConfig(smallest_envs=4, largest_envs=16),
    )


def played_with(config: Config, course: list[int], *, team: int = 2) -> list[Any]:
    with closing(Collectors("pong", config, NETWORK, **{**WHERE, "team": Team(team)})) as sets:  # type: ignore[arg-type]
        return [sets.play(iteration=i, weights_version=0, num_envs=envs) for i, envs in enumerate(course)]


NETWORK = make_network(6, image_size=32, frame_stack=4)
WHERE: dict[str, Any] = {"worker_index": 0, "iteration": 0, "precision": "float32"}


def test_tiers_join_pause_and_continue() -> None:
    course = [4, 8, 4, 8, 16]
    played = played_with(adaptive(), course)
    assert [sum(rollout.num_envs for rollout in part.rollouts) for part in played] == course
    # The first tier plays as in the same run with a fixed batch, whatever other tiers are in use.
    fixed = played_with(tiny(), [4] * 5)
    for part, alone in zip(played, fixed, strict=True):
        tiers = len(part.rollouts) // 2
        for share in range(2):
            assert same(part.rollouts[share * tiers], alone.rollouts[share])
    # The second tier paused in iteration 2: its next rollout begins with the frames that its last one ended with.
    np.testing.assert_array_equal(played[1].rollouts[1].frames[-3:], played[3].rollouts[1].frames[:3])
    assert played[3].rollouts[1].frames[:3].any()
    firsts = [rollout.actions for rollout in played[4].rollouts]
    assert len({actions.tobytes() for actions in firsts}) == len(firsts)  # every share has its own stream


def test_two_runners_play_the_same_tiers_as_two_threads() -> None:
    local = played_with(adaptive(), [4, 16])
    for worker in (1, 2):
        where = {**WHERE, "worker_index": worker, "team": Team(1)}
        with closing(Collectors("pong", adaptive(runners=2), NETWORK, **where)) as sets:
            remote = [sets.play(iteration=i, weights_version=0, num_envs=envs) for i, envs in enumerate((4, 16))]
        for mine, all_of_them in zip(remote, local, strict=True):
            tiers = len(mine.rollouts)
            theirs = all_of_them.rollouts[(worker - 1) * tiers : worker * tiers]
            assert all(same(one, other) for one, other in zip(mine.rollouts, theirs, strict=True))


def script(algorithm: AtariPPO, monkeypatch: pytest.MonkeyPatch, course: list[int]) -> None:
    """Replaces the decision by a script: a few iterations of random play do not resolve the noise scale."""
    left = iter(course)
    monkeypatch.setattr(algorithm_module, "next_envs", lambda target, **given: next(left))


@pytest.mark.usefixtures("local_ray")
def test_sizes_follow_the_environments_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = build(adaptive(), tmp_path)
    script(algorithm, monkeypatch, [8, 16, 16, 8, 4])
    for _ in range(5):
        algorithm.train()
    algorithm.stop()
    rows = RunFolder(tmp_path).rows()
    used = [4, 8, 16, 16, 8]
    for row in rows:
        check_row(row)
    assert [row["num_envs"] for row in rows] == used
    assert {row["batch_mode"] for row in rows} == {"adaptive"}
    assert [row["rollout_observations"] for row in rows] == [8 * envs for envs in used]
    assert [row["batch_observations"] for row in rows] == [4 * envs for envs in used]
    assert [row["observations"] for row in rows] == [8 * sum(used[: i + 1]) for i in range(5)]
    assert [row["optimizer_steps"] for row in rows] == [4, 8, 12, 16, 20]
    expected = [2.5e-4 * math.sqrt(envs / 4) for envs in used]
    assert [row["learning_rate"] for row in rows] == pytest.approx(expected, rel=1e-12)
    # The ladder has the rungs of the batch in use: more environments make more groups, up to noise.groups.
    assert [[rung["batch_observations"] for rung in row["noise/ladder"]] for row in rows[1:]] == [
        [8, 16, 32],
        [8, 16, 32, 64],
        [8, 16, 32, 64],
        [8, 16, 32],
    ]


@pytest.mark.usefixtures("local_ray")
def test_a_resumed_run_keeps_its_environments_and_held_iterations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def decide(target: Any, **given: Any) -> int:
        asked.append(given)
        return 8 if len(asked) == 1 else given["num_envs"]

    monkeypatch.setattr(algorithm_module, "next_envs", decide)
    first = build(adaptive(), tmp_path)
    for _ in range(3):
        first.train()
    first.stop()
    second = build(adaptive(), tmp_path)
    row = second.train()["row"]
    exact = {"noise/scale": 100.0, "noise/scale_low": 99.0, "noise/scale_high": 101.0, "noise/resolved": True}
    now = {"noise/now": 100.0, "noise/now_low": 50.0, "noise/now_high": 300.0}
    rate, target = second._target(row | exact | now)
    second.stop()
    # The interval of now, which allows for drift, must ask for a change.
    assert (target.best / target.low) ** 2 == pytest.approx(2 if rate > 0 else 4)
    assert (target.high / target.best) ** 2 == pytest.approx(3 if rate > 0 else 9)
    assert (row["num_envs"], row["iteration"]) == (8, 4)
    assert [(given["num_envs"], given["held_iterations"]) for given in asked] == [(4, 1), (8, 1), (8, 2), (8, 3)]


@pytest.mark.usefixtures("local_ray")
def test_a_killed_runner_restarts_with_the_environments_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = build(adaptive(runners=2), tmp_path)
    script(algorithm, monkeypatch, [8, 8, 16])
    algorithm.train()
    algorithm.train()
    pids = algorithm.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)
    os.kill(pids[0], signal.SIGKILL)
    rows = [algorithm.train()["row"], RunFolder(tmp_path).rows()[1]]
    algorithm.stop()
    assert [row["rollout_observations"] for row in rows] == [64, 64]
    assert [row["observations"] for row in RunFolder(tmp_path).rows()] == [32, 96, 160]
