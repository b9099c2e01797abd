"""Known truth under Stable-Baselines3: intervals hold the enumerated noise scale as often as they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3")

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from rlgns.adapters.measurement import RolloutNoiseScale
from rlgns.adapters.sb3_loss import rollout_loss
from tests.rlgns.adapters.bandit import ACTIONS, CONTEXTS, REWARDS, STEPS, ContextBandit, gradient_table
from tests.rlgns.adapters.bandit_coverage import ENVS, GROUPS, coverage


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


@pytest.fixture(scope="module")
def held() -> dict[str, float]:
    model = host()
    table = table_of(model)
    with torch.no_grad():
        chances = model.policy.get_distribution(torch.eye(CONTEXTS)).distribution.probs.numpy()

    def real(rollouts: Any, groups: Any) -> Any:
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
        return adapter.estimate(), groups

    return coverage(table, chances, real)


def test_intervals_hold_the_truth(held: dict[str, float]) -> None:
    print(held)
    assert 0.93 <= held["environments"] <= 0.97
    assert held["resolved"] > 0.5


def test_groups_of_shuffled_observations_do_not(held: dict[str, float]) -> None:
    assert held["shuffled"] < 0.6
