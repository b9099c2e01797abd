"""A run of Stable-Baselines3's PPO with NoiseScaleCallback, as a user has it."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy

from benchmarks.host_runs import settings as common
from benchmarks.host_runs.policy import build_policy, policy_settings
from benchmarks.host_runs.rows import row_of
from benchmarks.host_runs.settings import HostRun, make_env
from rlgns.adapters.sb3 import NoiseScaleCallback


def build(run: HostRun) -> PPO:
    """Returns the model, with a run's settings and first weights."""
    envs = make_vec_env(lambda: make_env(run.game, run.stagger_steps), n_envs=run.num_envs, seed=run.seed)
    model = PPO(
        ActorCriticPolicy,
        envs,
        n_steps=run.rollout_steps,
        batch_size=run.batch_observations,
        n_epochs=run.epochs,
        learning_rate=run.learning_rate,
        gamma=run.gamma,
        gae_lambda=common.GAE_LAMBDA,
        clip_range=run.clip,
        vf_coef=run.value_coefficient,
        ent_coef=run.entropy_coefficient,
        max_grad_norm=common.MAX_GRAD_NORM,
        policy_kwargs=policy_settings(envs.observation_space),
        seed=run.seed,
        device="cpu",
        verbose=0,
    )
    first = build_policy(run, envs.observation_space, envs.action_space)
    model.policy.load_state_dict(first.state_dict())
    torch.manual_seed(run.seed)
    return model


@final
class _Rows(BaseCallback):
    """Keeps what is in the logger after each rollout."""

    def __init__(self, rows: list[dict[str, float]]) -> None:
        super().__init__()
        self._found = rows

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        scores = [game["r"] for game in self.model.ep_info_buffer or ()]
        score = float(np.mean(scores)) if scores else float("nan")
        logged: dict[str, Any] = self.model.logger.name_to_value
        self._found.append(row_of(logged, observations=self.num_timesteps, score=score))


def run_sb3(run: HostRun) -> list[dict[str, float]]:
    """Trains, or plays with a frozen policy; returns a row per rollout."""
    model = build(run)
    rows: list[dict[str, float]] = []
    callback = NoiseScaleCallback(overhead=common.OVERHEAD, groups=run.num_envs, verbose=0)
    model.learn(run.iterations * run.rollout_observations, callback=[callback, _Rows(rows)])
    model.get_env().close()
    return rows
