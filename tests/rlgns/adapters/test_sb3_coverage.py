"""Known truth under Stable-Baselines3: intervals hold the enumerated noise scale as often as they say."""

from __future__ import annotations

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
from tests.rlgns.adapters.bandit import ACTIONS, CONTEXTS, REWARDS, STEPS, ContextBandit, true_moments

DRAWS, SHUFFLED, ROLLOUTS, ENVS, GROUPS = 400, 60, 7, 48, 3


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


def truth(model: Any) -> float:
    contexts, actions = np.zeros((STEPS, ENVS), np.int64), np.zeros((STEPS, ENVS), np.int64)
    first = np.arange(CONTEXTS * ACTIONS)
    contexts[0, first], actions[0, first] = first // ACTIONS, first % ACTIONS
    fill(model, contexts, actions)
    loss = rollout_loss(model, ppo=True)
    grad_sq, trace = true_moments(
        model.policy, lambda c, a: loss(np.array([(c * ACTIONS + a) * STEPS], dtype=np.int64))
    )
    return trace / grad_sq


@pytest.fixture(scope="module")
def held() -> dict[str, float]:
    """Share of the draws whose interval holds the truth, with groups of environments and of shuffled observations."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    model, rng, shuffle = host(), np.random.default_rng(12), np.random.default_rng(13)
    noise_scale, units = truth(model), environments(model)
    with torch.no_grad():
        chances = model.policy.get_distribution(torch.eye(CONTEXTS)).distribution.probs.numpy()
    bounds = chances.cumsum(1)
    count = {"environments": 0, "environments now": 0, "shuffled": 0, "shuffled now": 0, "resolved": 0}
    for draw in range(DRAWS):
        noise = {
            name: RolloutNoiseScale(model.policy, groups=GROUPS, algorithm="ppo", epochs=10)
            for name in ("environments", "shuffled")[: 1 + (draw < SHUFFLED)]
        }
        for _ in range(ROLLOUTS):
            contexts = np.tile(rng.integers(CONTEXTS, size=ENVS), (STEPS, 1))
            uniform = rng.random((STEPS, ENVS, 1))
            fill(model, contexts, np.minimum((uniform > bounds[contexts]).sum(2), ACTIONS - 1))
            loss = rollout_loss(model, ppo=True)
            for name, measured in noise.items():
                groups = split(units, GROUPS)
                if name == "shuffled":
                    groups = np.array_split(shuffle.permutation(ENVS * STEPS), GROUPS)
                measured.measure(
                    groups,
                    loss,
                    chunk_observations=10**6,
                    batch_observations=ENVS * STEPS,
                    learning_rate=1e-3,
                    observations=0,
                )
        for name, measured in noise.items():
            estimate = measured.estimate()
            count[name] += estimate.low <= noise_scale <= estimate.high
            count[f"{name} now"] += estimate.now_low <= noise_scale <= estimate.now_high
        count["resolved"] += noise["environments"].estimate().resolved
    torch.set_num_threads(before)
    return {name: number / (SHUFFLED if "shuffled" in name else DRAWS) for name, number in count.items()}


def test_intervals_hold_the_truth(held: dict[str, float]) -> None:
    print(held)
    assert 0.93 <= held["environments"] <= 0.97
    assert held["resolved"] > 0.5


def test_groups_of_shuffled_observations_do_not(held: dict[str, float]) -> None:
    assert held["shuffled"] < 0.6
