"""Known truth under Stable-Baselines3: intervals hold the enumerated noise scale as often as they say.

A group's gradient is the mean of its observations' gradients, and there are only CONTEXTS x ACTIONS different ones: the
host's loss gives each of them once, and draws are then arithmetic. The first draws go through the host's buffer and the
adapter as well, and must give the same moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3")

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from rlgns.adapters.groups import split
from rlgns.adapters.measurement import RolloutNoiseScale
from rlgns.adapters.sb3_loss import environments, rollout_loss
from rlgns.noise import GradientSize, NoiseScaleEstimate, NoiseScaleTracker, group_moments
from tests.rlgns.adapters.bandit import (
    ACTIONS,
    CONTEXTS,
    REWARDS,
    STEPS,
    ContextBandit,
    gradient_table,
    moments_of_table,
)

DRAWS, SHUFFLED, REAL, ROLLOUTS, ENVS, GROUPS = 400, 60, 3, 7, 48, 3


def host() -> Any:
    return PPO(
        "MlpPolicy",
        make_vec_env(ContextBandit, n_envs=ENVS),
        n_steps=STEPS,
        batch_size=ENVS * STEPS,
        normalize_advantage=False,
        ent_coef=0.01,
        seed=2,
        device="cpu",
        policy_kwargs={"net_arch": []},
    )


def fill(model: Any, contexts: np.ndarray, actions: np.ndarray) -> None:
    """The buffer as the host fills it with contexts and actions, both [steps, envs], in episodes of one step."""
    buffer = model.rollout_buffer
    seen = torch.eye(CONTEXTS)[torch.from_numpy(contexts).flatten()]
    with torch.no_grad():
        values, log_probs, _ = model.policy.evaluate_actions(seen, torch.from_numpy(actions).flatten())
    buffer.reset()
    buffer.observations[:] = np.eye(CONTEXTS, dtype=np.float32)[contexts]
    buffer.actions[..., 0] = actions
    buffer.values[:] = values.numpy().reshape(contexts.shape)
    buffer.log_probs[:] = log_probs.numpy().reshape(contexts.shape)
    buffer.returns[:] = REWARDS[contexts, actions]
    buffer.advantages[:] = buffer.returns - buffer.values
    buffer.pos, buffer.full = STEPS, True


def table_of(model: Any) -> np.ndarray:
    """[contexts, actions, parameters]: each observation's gradient by the host's loss."""
    contexts, actions = np.zeros((STEPS, ENVS), np.int64), np.zeros((STEPS, ENVS), np.int64)
    first = np.arange(CONTEXTS * ACTIONS)
    contexts[0, first], actions[0, first] = first // ACTIONS, first % ACTIONS
    fill(model, contexts, actions)
    loss = rollout_loss(model, ppo=True)
    return gradient_table(model.policy, lambda c, a: loss(np.array([(c * ACTIONS + a) * STEPS], dtype=np.int64)))


def measured(model: Any, rollouts: Sequence[Any], groups: Sequence[Sequence[np.ndarray]]) -> NoiseScaleEstimate:
    """The estimate of the adapter itself, from rollouts of contexts and actions and their groups."""
    adapter = RolloutNoiseScale(model.policy, groups=GROUPS, algorithm="ppo", epochs=10)
    for (contexts, actions), split_rollout in zip(rollouts, groups, strict=True):
        fill(model, contexts, actions)
        adapter.measure(
            split_rollout,
            rollout_loss(model, ppo=True),
            chunk_observations=10**6,
            batch_observations=ENVS * STEPS,
            learning_rate=1e-3,
            observations=0,
        )
    return adapter.estimate()


def computed(table: np.ndarray, rollouts: Sequence[Any], groups: Sequence[Sequence[np.ndarray]]) -> NoiseScaleEstimate:
    """The same from the table of gradients."""
    size, tracker = GradientSize(), NoiseScaleTracker(follows_run=True)
    for (contexts, actions), split_rollout in zip(rollouts, groups, strict=True):
        each = table[contexts.T.ravel(), actions.T.ravel()]  # env * steps + step, as the adapter counts them
        gradients = np.stack([each[group].mean(0) for group in split_rollout])
        relative = size.divide(group_moments(gradients, len(split_rollout[0])))
        if relative is not None:
            tracker.update(relative)
    return tracker.estimate().scaled(size.value or 1.0)


@pytest.fixture(scope="module")
def held() -> dict[str, float]:
    """Share of the draws whose interval holds the truth, with groups of environments and of shuffled observations."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    model, rng, shuffle = host(), np.random.default_rng(12), np.random.default_rng(13)
    table, units = table_of(model), environments(model)
    with torch.no_grad():
        chances = model.policy.get_distribution(torch.eye(CONTEXTS)).distribution.probs.numpy()
    grad_sq, trace = moments_of_table(table, chances)
    noise_scale, bounds = trace / grad_sq, chances.cumsum(1)
    count = {"environments": 0, "environments now": 0, "shuffled": 0, "shuffled now": 0, "resolved": 0}
    for draw in range(DRAWS):
        rollouts, shuffled = [], []
        for _ in range(ROLLOUTS):
            contexts = np.tile(rng.integers(CONTEXTS, size=ENVS), (STEPS, 1))
            uniform = rng.random((STEPS, ENVS, 1))
            rollouts.append((contexts, np.minimum((uniform > bounds[contexts]).sum(2), ACTIONS - 1)))
            if draw < SHUFFLED:
                shuffled.append(np.array_split(shuffle.permutation(ENVS * STEPS), GROUPS))
        ways = {"environments": [split(units, GROUPS)] * ROLLOUTS} | ({"shuffled": shuffled} if shuffled else {})
        for name, groups in ways.items():
            estimate = computed(table, rollouts, groups)
            count[name] += estimate.low <= noise_scale <= estimate.high
            count[f"{name} now"] += estimate.now_low <= noise_scale <= estimate.now_high
            count["resolved"] += name == "environments" and estimate.resolved
            if draw < REAL:
                real = measured(model, rollouts, groups)
                assert (real.grad_sq, real.trace) == pytest.approx((estimate.grad_sq, estimate.trace), rel=1e-4)
                assert (real.low, real.now_low) == pytest.approx((estimate.low, estimate.now_low), rel=1e-3)
                assert (real.updates, real.resolved) == (estimate.updates, estimate.resolved)
    torch.set_num_threads(before)
    return {name: number / (SHUFFLED if "shuffled" in name else DRAWS) for name, number in count.items()}


def test_intervals_hold_the_truth(held: dict[str, float]) -> None:
    print(held)
    assert 0.93 <= held["environments"] <= 0.97
    assert held["resolved"] > 0.5


def test_groups_of_shuffled_observations_do_not(held: dict[str, float]) -> None:
    assert held["shuffled"] < 0.6
