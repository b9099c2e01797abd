"""Stable-Baselines3's PPO with its own Atari wrappers."""

from __future__ import annotations

from typing import Any, final

from benchmarks.peers import settings as common
from benchmarks.peers.settings import Settings, atari_id


@final
class StableBaselines:
    """PPO, CnnPolicy (NatureCNN), make_atari_env and VecFrameStack, in one process or one per environment."""

    def __init__(self, settings: Settings, *, processes: bool) -> None:
        """Builds environments and model."""
        import torch
        from stable_baselines3 import PPO
        from stable_baselines3.common.env_util import make_atari_env
        from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack

        torch.set_num_threads(settings.threads)
        name, arguments = atari_id(settings.game)
        envs = make_atari_env(
            name,
            n_envs=settings.num_envs,
            seed=settings.seed,
            wrapper_kwargs={"frame_skip": common.FRAME_SKIP, "screen_size": common.IMAGE_SIZE},
            env_kwargs=arguments,
            vec_env_cls=SubprocVecEnv if processes else DummyVecEnv,
        )
        self._model = PPO(
            "CnnPolicy",
            VecFrameStack(envs, common.FRAME_STACK),
            n_steps=settings.rollout_steps,
            batch_size=settings.batch_observations,
            n_epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            gamma=common.GAMMA,
            gae_lambda=common.GAE_LAMBDA,
            clip_range=common.CLIP,
            vf_coef=common.VALUE_COEFFICIENT,
            ent_coef=common.ENTROPY_COEFFICIENT,
            max_grad_norm=common.MAX_GRAD_NORM,
            policy_kwargs={"optimizer_kwargs": {"eps": common.ADAM_EPSILON}},
            seed=settings.seed,
            verbose=0,
        )

    def run(self, observations: int) -> dict[str, Any]:
        """Trains; environments continue from the last call."""
        before = self._model.num_timesteps
        self._model.learn(observations, reset_num_timesteps=False, log_interval=None)
        return {"observations": self._model.num_timesteps - before}

    def close(self) -> None:
        """Ends the environments' processes."""
        self._model.get_env().close()
