"""Stable-Baselines3's callback: what it refuses before training, and what it leaves out during it."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest

pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3")

from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.buffers import BaseBuffer
from stable_baselines3.common.env_util import make_vec_env

from rlgns.adapters.sb3 import NoiseScaleCallback
from tests.rlgns.adapters.bandit import ContextBandit
from tests.rlgns.adapters.sb3_cases import build, played, quiet


def test_one_environment_is_refused_before_it_plays() -> None:
    model = build("PPO on CartPole", n_envs=1)
    with pytest.raises(ValueError, match=r"^NoiseScaleCallback needs at least 2 environments, got 1: use make_vec_env"):
        model.learn(64, callback=quiet())
    assert model.num_timesteps == 0


def test_another_algorithm_is_refused_before_it_plays() -> None:
    class OwnLoss(PPO):
        def train(self) -> None:
            super().train()

    envs = make_vec_env("CartPole-v1", n_envs=2)
    for model in (OwnLoss("MlpPolicy", envs, n_steps=8, batch_size=8), DQN("MlpPolicy", envs)):
        with pytest.raises(ValueError, match=f"{type(model).__name__} trains otherwise: remove the callback"):
            model.learn(64, callback=quiet())


def test_a_buffer_without_the_hook_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("PPO on CartPole")
    monkeypatch.delattr(BaseBuffer, "swap_and_flatten")
    with pytest.raises(
        ValueError, match=r"^RolloutBuffer of Stable-Baselines3 2\.\S+ has no swap_and_flatten: install"
    ):
        model.learn(64, callback=quiet())


@pytest.mark.parametrize("settings", [{"groups": 1}, {"overhead": 1.0}, {"overhead": -0.1}, {"level": 0.0}])
def test_bad_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"got (1|1\.0|-0\.1|0\.0)$"):
        NoiseScaleCallback(**settings)


def test_rewards_that_are_nan_are_not_counted_and_training_goes_on() -> None:
    envs = make_vec_env(lambda: ContextBandit(bad=math.nan), n_envs=4)
    model = A2C("MlpPolicy", envs, n_steps=4, seed=0, device="cpu", max_grad_norm=0.0, learning_rate=0.0)
    callback = quiet()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        played(model)
        callback.init_callback(model)
        for _ in range(3):
            callback._measure(callback._started())
    assert [str(w.message) for w in caught if "NaN or infinite" in str(w.message)] == [
        "the gradient of a rollout is NaN or infinite and is not counted; look at rewards and learning rate"
    ]
    assert callback.estimate().updates == 0 and callback.estimate().skipped == 3


def test_episodes_of_length_one_are_measured() -> None:
    model = PPO("MlpPolicy", make_vec_env(ContextBandit, n_envs=4), n_steps=4, batch_size=8, seed=0, device="cpu")
    callback = quiet()
    model.learn(16 * 8, callback=callback)
    assert callback.estimate().updates >= 4


def test_nothing_measured_yet_says_so() -> None:
    with pytest.raises(RuntimeError, match=r"measured nothing yet: give it to model\.learn"):
        quiet().estimate()
