"""Which process gets what: whole machines, fractions, GPUs, memory, and warnings."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from rlgns.agents.network import build_network
from rlgns.config.schema import Config, EngineConfig
from rlgns.envs.config import EnvConfig
from rlgns.machine.footprint import (
    GIB,
    MOST_ACTIONS,
    object_store_bytes,
    parameters,
    placement_lines,
    rollout_bytes,
    warnings,
)
from rlgns.machine.placement import Node, Placement, TrialShare
from tests.agents.synthetic import random_rollouts


def config(*, envs: int = 32, **engine: Any) -> Config:
    return Config(env=EnvConfig(num_envs=envs), engine=EngineConfig(device="cpu", **engine))


def machines(*cpus: float, gpus: float = 0) -> list[Node]:
    return [Node(cpus=number, gpus=gpus) for number in cpus]


@pytest.mark.parametrize(
    ("nodes", "most", "shared"),
    [
        (machines(2), 1, (1, 2.0, 0.0)),
        (machines(2), 3, (2, 1.0, 0.0)),  # at most one per CPU: the third waits
        (machines(2), 0, (2, 1.0, 0.0)),
        (machines(4, 3), 2, (2, 3.0, 0.0)),
        (machines(8, 8, gpus=1), 0, (4, 4.0, 0.5)),  # two for each GPU, with four CPUs each
        (machines(6, gpus=1), 0, (1, 6.0, 1.0)),
        (machines(64, gpus=1), 0, (4, 16.0, 0.25)),
        (machines(4, gpus=4), 0, (4, 1.0, 1.0)),
        (machines(16, gpus=1), 4, (4, 4.0, 0.25)),
        ([], 0, (1, 1.0, 0.0)),
    ],
)
def test_trials_at_once_share_what_there_is(nodes: list[Node], most: int, shared: tuple[int, float, float]) -> None:
    share = TrialShare.of(nodes, most)
    assert (share.most, share.cpus, share.gpus) == shared


@pytest.mark.parametrize(
    ("nodes", "engine", "driver", "learners", "runners"),
    [
        # CPUs of the driver, (number, CPUs) of learners and runners
        (machines(8), {}, 8.0, (0, 0.0), (0, 0.0)),
        (machines(8), {"runners": 3}, 5.0, (0, 0.0), (3, 1.0)),
        (machines(4, 4), {}, 4.0, (0, 0.0), (0, 0.0)),  # one process is on one machine
        (machines(4, 4), {"runners": 2}, 4.0, (0, 0.0), (2, 1.0)),
        (machines(2), {"runners": 2}, 0.6666, (0, 0.0), (2, 0.6666)),
        (machines(1, 1), {"runners": 2}, 1.0, (0, 0.0), (2, 0.5)),  # two thirds would leave one without a machine
        (machines(8), {"runners": 4, "learners": 2}, 0.0, (2, 2.0), (4, 1.0)),
        (machines(2, 2, 2), {"runners": 2, "learners": 2}, 0.0, (2, 2.0), (2, 1.0)),
        (machines(8), {"learners": 3}, 2.0, (3, 2.0), (0, 0.0)),  # the driver plays
        (machines(2), {"runners": 4, "learners": 2}, 0.0, (2, 0.3333), (4, 0.3333)),
    ],
)
def test_runners_get_a_cpu_each_and_learners_the_rest(
    nodes: list[Node],
    engine: dict[str, int],
    driver: float,
    learners: tuple[int, float],
    runners: tuple[int, float],
) -> None:
    share = TrialShare.of(nodes, 1)
    placed = Placement.of(config(envs=32 if engine.get("runners") != 3 else 24, **engine), share)
    assert placed.driver_cpus == driver
    assert (placed.learners, placed.learner_cpus) == learners
    assert (placed.runners, placed.runner_cpus) == runners
    if engine.get("runners") and not engine.get("learners"):  # they are idle while the driver learns
        assert placed.learner_threads == min(share.cpus, max(node.cpus for node in nodes))
    else:
        assert placed.learner_threads == max(1, math.floor(placed.learner_cpus or placed.driver_cpus))


def test_learners_share_gpus_where_there_are_fewer() -> None:
    nodes = machines(16, gpus=2)
    for learners, each in ((0, 1.0), (2, 1.0), (3, 0.5), (5, 1 / 3)):
        run = config(learners=learners)
        assert Placement.of(run, TrialShare.of(nodes, 1), gpu=True).learner_gpus == pytest.approx(each)


def test_sizes_are_those_of_real_rollouts_and_networks() -> None:
    (rollout,), _ = random_rollouts(0, steps=16, envs=4, stack=4, size=20)
    run = config(envs=8)
    others = {"frames", "frames_there", "values"}
    sizes = [getattr(rollout, name).nbytes for name in rollout.__slots__ if name not in others]
    assert sum(sizes) + rollout.values[:-1].nbytes == 27 * 16 * 4
    assert rollout_bytes(run) == (128 + 3) * 8 * 84 * 84 + 27 * 128 * 8 + 4 * 8
    network = build_network(run.network, num_actions=MOST_ACTIONS, frame_stack=4, image_size=84)
    assert parameters(run) == network.parameter_count


def test_the_object_store_holds_rollouts_and_weights_and_twice_the_rollouts_when_playing_ahead() -> None:
    weights = 4 * parameters(config())
    assert object_store_bytes(config()) == 0
    assert object_store_bytes(config(runners=2)) == rollout_bytes(config()) + weights
    assert object_store_bytes(config(runners=2, async_lag=1)) == 2 * rollout_bytes(config()) + weights


@pytest.mark.parametrize(
    ("run", "node", "warning"),
    [
        (config(runners=4), Node(cpus=2), "5 busy processes share 2 CPUs"),
        (config(threads=9), Node(cpus=4), "engine.threads 9 is more than the 4 CPUs of a learner"),
        (
            config(learners=10),
            Node(cpus=16),
            "10 is more than the 8 groups of a batch: 2 are idle",
        ),
        (config(runners=8), Node(cpus=16, memory=4 * GIB), "GiB of memory, has 4.0 GiB"),
        (config(runners=8), Node(cpus=16, object_store=20 * 2**20), "object store, the smallest node has 0.02 GiB"),
    ],
)
def test_what_does_not_fit_is_a_warning(run: Config, node: Node, warning: str) -> None:
    share = TrialShare.of([node], 1)
    (told,) = warnings(run, share, Placement.of(run, share))
    assert warning in told and "\n" not in told


def test_what_fits_has_no_warning() -> None:
    run = config(runners=4, learners=2)
    share = TrialShare.of([Node(cpus=8, memory=64 * GIB, object_store=8 * GIB)] * 2, 1)
    lines = dict(placement_lines(run, share, Placement.of(run, share)))
    assert lines["placement"] == "2 nodes with 16 CPUs, no GPU"
    assert lines["driver"].startswith("waits: 0 CPUs")
    assert lines["learners"].startswith("2, each 6 CPUs, 6 threads")
    assert lines["runners"].startswith("4, each 1 CPU, 1 thread") and lines["runners"].endswith("8 environments")
    assert "of 128.0 GiB" in lines["memory"] and "of 8.0 GiB of object store" in lines["objects"]
    assert "warning" not in lines


def test_a_lag_needs_runners_and_is_one_at_most() -> None:
    with pytest.raises(ValueError, match=r"engine.runners must be at least 1, got 0"):
        EngineConfig(async_lag=1)
    with pytest.raises(ValueError, match=r"engine.async_lag must be 0 or 1, got 2"):
        EngineConfig(async_lag=2, runners=1)
    assert dataclasses.replace(EngineConfig(runners=1), async_lag=1).async_lag == 1
