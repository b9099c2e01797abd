"""Policies and environments that Stable-Baselines3's callback is tried on."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from rlgns.adapters.sb3 import NoiseScaleCallback


class Images(gymnasium.Env):
    """Images and a vector in a dictionary, three switches as the action, episodes of length one to four."""

    observation_space = spaces.Dict(
        {"image": spaces.Box(0, 255, (1, 36, 36), np.uint8), "vector": spaces.Box(-1, 1, (3,), np.float32)}
    )
    action_space = spaces.MultiBinary(3)

    def observation(self) -> dict[str, np.ndarray]:
        image = self.np_random.integers(0, 256, (1, 36, 36), dtype=np.uint8)
        return {"image": image, "vector": self.np_random.uniform(-1, 1, 3).astype(np.float32)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation(), float(np.sum(action)), bool(self.np_random.random() < 0.4), False, {}


class DropoutNetwork(BaseFeaturesExtractor):
    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, 8)
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.2), torch.nn.Tanh()
        )

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.layers(observations)


SMALL = {"n_steps": 16, "seed": 3, "device": "cpu", "policy_kwargs": {"net_arch": [8]}}
CASES = {
    "PPO on CartPole": (PPO, "MlpPolicy", "CartPole-v1", {**SMALL, "batch_size": 32, "n_epochs": 2, "ent_coef": 0.01}),
    "PPO, value clip, gSDE, continuous": (
        PPO,
        "MlpPolicy",
        "Pendulum-v1",
        {**SMALL, "batch_size": 32, "n_epochs": 2, "clip_range_vf": 0.2, "use_sde": True, "ent_coef": 0.01},
    ),
    "A2C on CartPole": (A2C, "MlpPolicy", "CartPole-v1", {**SMALL, "ent_coef": 0.01}),
    "PPO on images and vectors": (
        PPO,
        "MultiInputPolicy",
        Images,
        {
            **SMALL,
            "batch_size": 32,
            "n_epochs": 1,
            "policy_kwargs": {"net_arch": [8], "features_extractor_kwargs": {"cnn_output_dim": 8}},
        },
    ),
    "PPO, dropout and batch norm": (
        PPO,
        "MlpPolicy",
        "CartPole-v1",
        {
            **SMALL,
            "batch_size": 32,
            "n_epochs": 2,
            "policy_kwargs": {"net_arch": [8], "features_extractor_class": DropoutNetwork},
        },
    ),
}


def build(case: str, n_envs: int = 4, **more: Any) -> Any:
    kind, policy, env, settings = CASES[case]
    return kind(policy, make_vec_env(env, n_envs=n_envs, seed=11), **{**settings, **more})


def played(model: Any) -> None:
    """Plays one rollout, without training."""
    _, callback = model._setup_learn(10**6, None, True, "test", False)
    callback.on_training_start({}, {})
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)


def quiet(**more: Any) -> NoiseScaleCallback:
    return NoiseScaleCallback(**{"overhead": 0.9, "verbose": 0, **more})
