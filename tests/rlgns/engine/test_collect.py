"""Rollouts of real games, compared with a twin set of environments that takes the same actions."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from rlgns.agents.compute.precision import autocast
from rlgns.agents.compute.team import Team
from rlgns.agents.config import NetworkConfig
from rlgns.agents.network import ActorCritic, build_network
from rlgns.agents.rollout import FrameStacks, Rollout
from rlgns.engine.collect import Collector, Collectors, ages, draw_actions, log_probabilities
from rlgns.envs.config import EnvConfig
from rlgns.envs.protocols import PROTOCOLS
from rlgns.envs.vector import AtariEnvs, Episode
from tests.rlgns.engine.tiny import tiny

CPU = torch.device("cpu")
ENV = EnvConfig(image_size=20, frame_stack=3, stagger_steps=12)
ENVS, STEPS, ROLLOUTS = 2, 40, 5
SHORT = replace(PROTOCOLS["baselines"], max_frames_per_episode=100)
"""A time limit of 25 observations, which every rollout reaches."""


def make_envs(game: str, *, seed: int = 4) -> AtariEnvs:
    protocol = SHORT if game == "pong" else None
    return AtariEnvs(game, ENV, num_envs=ENVS, seed=seed, protocol=protocol)


def make_network(
    num_actions: int, *, seed: int = 0, image_size: int = ENV.image_size, frame_stack: int = ENV.frame_stack
) -> ActorCritic:
    torch.manual_seed(seed)
    network = build_network(
        NetworkConfig(channels=(4,), kernels=(6,), strides=(4,), hidden=8),
        num_actions=num_actions,
        frame_stack=frame_stack,
        image_size=image_size,
    )
    with torch.no_grad():  # a policy with preferences, which a wrong distribution would miss
        network.policy_head.weight.mul_(100)
        network.policy_head.bias.copy_(torch.linspace(-1, 1, num_actions))
    return network


@contextmanager
def collecting(game: str, **settings: Any) -> Iterator[tuple[Collector, ActorCritic]]:
    envs = make_envs(game)
    network = make_network(envs.num_actions)
    settings = {"precision": "float32", "stream": 0, **settings}
    with closing(Collector(envs, network, rollout_steps=STEPS, **settings)) as collector:
        yield collector, network


def evaluate(network: ActorCritic, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        logits, values = network(torch.from_numpy(observations.reshape(-1, *observations.shape[-3:])))
    return logits.double().numpy(), values.numpy()


@cache
def pong() -> list[tuple[Rollout, list[Episode]]]:
    """Rollouts of the seed and stream that the others are compared with."""
    with collecting("pong") as (collector, _):
        return [collector.collect(seed=1, iteration=iteration) for iteration in range(ROLLOUTS)]


def same(one: Rollout, other: Rollout) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in one.__slots__)


@pytest.mark.parametrize("game", ["pong", "breakout"])
def test_rollouts_hold_what_the_environments_returned(game: str) -> None:
    """Pong reaches its time limit often, and Breakout loses lives."""
    if game == "pong":
        played = pong()
    else:
        with collecting(game) as (collector, _):
            played = [collector.collect(seed=1, iteration=iteration) for iteration in range(ROLLOUTS)]
    twin = make_envs(game)
    network = make_network(twin.num_actions)
    truncations = lives_lost = 0
    with closing(twin):
        observations = twin.reset()
        for rollout, episodes in played:
            rebuilt = FrameStacks.of([rollout], CPU).gather(torch.arange(STEPS * ENVS)).numpy()
            rebuilt = rebuilt.reshape(STEPS, ENVS, *observations.shape[1:])
            expected_episodes: list[Episode] = []
            for t in range(STEPS):
                np.testing.assert_array_equal(rebuilt[t], observations)
                logits, values = evaluate(network, observations)
                log_policy = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
                np.testing.assert_allclose(rollout.values[t], values, rtol=1e-5, atol=1e-6)
                np.testing.assert_allclose(
                    rollout.log_probs[t], log_policy[np.arange(ENVS), rollout.actions[t]], rtol=1e-5, atol=1e-5
                )
                step = twin.step(rollout.actions[t])
                np.testing.assert_array_equal(rollout.rewards[t], step.rewards)
                np.testing.assert_array_equal(rollout.truncated[t], step.truncated)
                np.testing.assert_array_equal(rollout.terminal[t], step.terminated | step.life_lost)
                final_values = np.zeros(ENVS, np.float32)
                if step.final_observations is not None:
                    final_values = np.where(step.truncated, evaluate(network, step.final_observations)[1], 0)
                np.testing.assert_allclose(rollout.final_values[t], final_values, rtol=1e-5, atol=1e-6)
                truncations += int(step.truncated.sum())
                lives_lost += int(step.life_lost.sum())
                expected_episodes += step.episodes
                observations = step.observations
            np.testing.assert_allclose(rollout.values[STEPS], evaluate(network, observations)[1], rtol=1e-5, atol=1e-6)
            assert episodes == expected_episodes
    assert truncations > 5 if game == "pong" else lives_lost > 2


def test_the_same_seed_plays_the_same_rollouts() -> None:
    with collecting("pong") as (collector, _):
        for iteration in range(2):
            assert same(pong()[iteration][0], collector.collect(seed=1, iteration=iteration)[0])


@pytest.mark.parametrize("game", ["pong", "breakout"])
def test_frames_that_stay_on_the_device_are_those_of_the_rollout(game: str) -> None:
    """As on an accelerator; the processor's rollouts are the same, bit for bit."""
    with collecting(game) as (plain, _), collecting(game, ring=True) as (collector, _):
        for iteration in range(3):
            expected, episodes = plain.collect(seed=1, iteration=iteration)
            rollout, found = collector.collect(seed=1, iteration=iteration)
            assert rollout.frames_there is not None
            assert expected.frames_there is None  # where the device is a processor there is no second copy
            frames, rollout.frames_there = rollout.frames_there(), None
            assert frames is not None
            np.testing.assert_array_equal(frames.numpy(), rollout.frames)
            assert same(rollout, expected)
            assert found == episodes


def test_bfloat16_plays_with_heads_in_float32() -> None:
    with collecting("pong", precision="bfloat16") as (collector, network):
        rollout = collector.collect(seed=1, iteration=0)[0]
    seen = FrameStacks.of([rollout], CPU).gather(torch.arange(STEPS * ENVS)).numpy()
    with torch.no_grad(), autocast(CPU, "bfloat16"):
        values = network(torch.from_numpy(seen))[1].numpy()
    found = rollout.values[:-1].reshape(-1)
    np.testing.assert_allclose(found, values, rtol=0.02, atol=0.02 * np.abs(values).max())
    assert (torch.from_numpy(found).bfloat16().float().numpy() != found).mean() > 0.5  # not rounded to it


@pytest.mark.parametrize("other", [{"stream": 1}, {"seed": 2}, {"iteration": 1}], ids=["stream", "seed", "iteration"])
def test_another_stream_seed_or_iteration_draws_other_actions(other: dict[str, int]) -> None:
    """With the same environments, so that only the draws can differ."""
    asked = {"stream": 0, "seed": 1, "iteration": 0, **other}
    with collecting("pong", stream=asked.pop("stream")) as (collector, _):
        played = collector.collect(**asked)[0]
    assert 0.3 < (played.actions != pong()[0][0].actions).mean() < 1


def test_actions_are_distributed_as_the_policy_says() -> None:
    """Observed minus expected counts, over the standard deviation of independent draws."""
    rollouts = [rollout for rollout, _ in pong()]
    stacks = [FrameStacks.of([rollout], CPU).gather(torch.arange(STEPS * ENVS)).numpy() for rollout in rollouts]
    logits, _ = evaluate(make_network(6), np.concatenate(stacks))
    policy = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    actions = np.concatenate([rollout.actions.reshape(-1) for rollout in rollouts])
    counts = np.bincount(actions, minlength=policy.shape[1])

    def worst(expected: np.ndarray) -> float:
        return float(np.abs((counts - expected.sum(0)) / np.sqrt((expected * (1 - expected)).sum(0))).max())

    assert worst(policy) < 4
    assert worst(np.full_like(policy, 1 / policy.shape[1])) > 4  # power: detects a twin that ignores the policy
    assert worst(policy**0.5 / (policy**0.5).sum(-1, keepdims=True)) > 4  # power: detects a flatter policy


def test_draws_pass_a_chi_square_test() -> None:
    draws, logits = 40_000, np.array([2.0, -1.0, 0.5, 0.0, -3.0], np.float32)
    actions = draw_actions(np.tile(logits, (draws, 1)), np.random.default_rng(0).gumbel(size=(draws, 5)))
    policy = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum()
    counts = np.bincount(actions, minlength=5)
    assert stats.chisquare(counts, draws * policy).pvalue > 1e-3
    biased = 0.98 * policy + 0.02 / 5
    assert stats.chisquare(counts, draws * biased).pvalue < 1e-3  # power: detects 2 % of random play


def test_draws_of_different_rows_are_independent() -> None:
    actions = draw_actions(np.zeros((20_000, 2), np.float32), np.random.default_rng(1).gumbel(size=(20_000, 2)))
    table = np.bincount(2 * actions[::2] + actions[1::2], minlength=4)
    assert stats.chisquare(table).pvalue > 1e-3


def test_log_probabilities_are_those_of_the_actions_drawn() -> None:
    rng = np.random.default_rng(2)
    logits = (30 * rng.normal(size=(500, 7))).astype(np.float32)
    logits[0] = [1e4, 0, 0, 0, 0, 0, -1e4]  # far beyond what exp can hold
    actions = draw_actions(logits, rng.gumbel(size=logits.shape))
    log_probs = log_probabilities(logits, actions)
    assert actions.dtype == np.int64 and log_probs.dtype == np.float32
    expected = torch.log_softmax(torch.from_numpy(logits).double(), -1).numpy()[np.arange(500), actions]
    np.testing.assert_allclose(log_probs, expected, rtol=1e-5, atol=1e-5)


def test_ages_count_the_frames_of_the_present_game() -> None:
    stacks = np.zeros((4, 4, 2, 2), np.uint8)
    stacks[0, 3] = stacks[1, 1:] = stacks[2] = 9
    stacks[1, 2] = 0  # a black frame within a game
    assert ages(stacks).tolist() == [1, 3, 4, 1]


def test_several_sets_share_the_environments_and_play_different_games() -> None:
    run = tiny()
    network = build_network(run.network, num_actions=6, frame_stack=run.env.frame_stack, image_size=run.env.image_size)
    team = Team(2)
    with closing(team):
        sets = Collectors("pong", run, network, team=team, worker_index=3, iteration=0, precision="float32")
        with closing(sets):
            played = sets.play(iteration=0, weights_version=17)
    assert (played.weights_version, played.worker_index) == (17, 3)
    assert [(rollout.num_envs, rollout.num_steps) for rollout in played.rollouts] == [(2, 8), (2, 8)]
    first, second = played.rollouts
    assert not np.array_equal(first.actions, second.actions)
    assert not np.array_equal(first.frames, second.frames)
