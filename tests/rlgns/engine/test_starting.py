"""Environments that have started are counted in the runners' processes and read in the driver's."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from rlgns.agents.compute.team import Team
from rlgns.agents.network import build_network
from rlgns.engine.collect import Collectors
from rlgns.engine.starting import LOOK_EVERY_S, StartedCount, StartWatch, started
from tests.rlgns.engine.tiny import tiny


@pytest.mark.parametrize("stagger_steps", [0, 1, 30])
def test_every_environment_is_counted_once(stagger_steps: int) -> None:
    run = replace(tiny(), env=replace(tiny().env, num_envs=6, stagger_steps=stagger_steps))
    network = build_network(run.network, num_actions=6, frame_stack=run.env.frame_stack, image_size=run.env.image_size)
    counted: list[int] = []
    with closing(Team(2)) as team:
        Collectors(
            "pong", run, network, team=team, worker_index=0, iteration=0, precision="float32", started=counted.append
        ).close()
    assert sum(counted) == 6
    assert len(counted) > 2 or stagger_steps < 30  # as they come


def test_the_store_is_asked_once_a_second_and_keeps_nothing(local_ray: None) -> None:
    heard: list[tuple[str, int, int]] = []
    now = [0.0]
    watch = StartWatch(lambda *count: heard.append(count), clock=lambda: now[0])
    watch.expect("pong")
    watch()
    StartedCount("pong", 0, 4)(4)
    watch()
    assert heard == []  # it looked a moment ago
    now[0] += LOOK_EVERY_S
    watch()
    assert heard == [("pong", 4, 4)]
    watch.began("pong")
    assert started("pong") == (0, 0)


def test_a_run_that_starts_again_is_counted_from_zero(local_ray: None) -> None:
    heard: list[tuple[str, int, int]] = []
    watch = StartWatch(lambda *count: heard.append(count), clock=iter(range(0, 100, 2)).__next__)
    watch.expect("pong-s1")
    StartedCount("pong-s10", 0, 8)(5)  # another run, whose name begins alike
    first, second = StartedCount("pong-s1", 1, 4), StartedCount("pong-s1", 2, 4)
    watch()
    for count in (first, second, first):
        count(2)
        watch()
        watch()
    watch.expect("pong-s1")
    watch()
    StartedCount("pong-s1", 1, 4)(1)
    watch()
    assert heard == [("pong-s1", *count) for count in ((0, 8), (2, 8), (4, 8), (6, 8), (1, 4))]


def test_without_ray_nothing_is_counted_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get_runtime_context", lambda: 1 / 0)
    StartedCount("pong", 0, 4)(1)
