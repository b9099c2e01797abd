"""RLlib's own PPO: new API stack, its Atari wrapper, its episodes and connectors, its learner."""

from __future__ import annotations

from typing import Any, final

import gymnasium
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module.frame_stacking import FrameStackingEnvToModule
from ray.rllib.connectors.learner.frame_stacking import FrameStackingLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.wrappers.atari_wrappers import wrap_atari_for_new_api_stack
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.tune.registry import register_env
from torch import nn

from benchmarks.peers import settings as common
from benchmarks.peers.settings import Settings, atari_id, start_ray, stop_rllib

FILTERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
"""Channels, kernel and stride of the Nature network's convolutions."""


class NatureModule(TorchRLModule, ValueFunctionAPI):
    """The Nature network. RLlib's default encoder pads every convolution, so its hidden layer is 2.5 times larger."""

    def setup(self) -> None:
        """Builds the layers."""
        assert isinstance(self.observation_space, Box)
        assert isinstance(self.action_space, Discrete)
        layers: list[nn.Module] = []
        size, _, channels = self.observation_space.shape
        for width, kernel, stride in FILTERS:
            layers += [nn.Conv2d(channels, width, kernel, stride), nn.ReLU()]
            channels, size = width, (size - kernel) // stride + 1
        self._body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * size * size, 512), nn.ReLU())
        self._policy = nn.Linear(512, int(self.action_space.n))
        self._value = nn.Linear(512, 1)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, torch.Tensor]:
        return {Columns.ACTION_DIST_INPUTS: self._policy(self._embed(batch))}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, torch.Tensor]:
        hidden = self._embed(batch)
        return {Columns.ACTION_DIST_INPUTS: self._policy(hidden), Columns.EMBEDDINGS: hidden}

    def compute_values(self, batch: dict[str, Any], embeddings: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the values; the loss passes the embeddings in, so the body runs once."""
        hidden = self._embed(batch) if embeddings is None else embeddings
        return self._value(hidden).squeeze(-1)

    def _embed(self, batch: dict[str, Any]) -> torch.Tensor:
        return self._body(batch[Columns.OBS].permute(0, 3, 1, 2))


@final
class StockRLlib:
    """PPO as RLlib ships it, with all environments in its process or divided among remote runners."""

    def __init__(
        self, settings: Settings, *, runners: int = 0, connectors: bool = False, encoder: bool = False
    ) -> None:
        """Builds the algorithm.

        Args:
            settings: Sizes.
            runners: Remote runners; 0: the environments are in the learner's process.
            connectors: Whether RLlib's connectors stack frames, as in its Atari example, rather than the environment.
            encoder: Whether to use RLlib's default encoder with the Nature filters: padded, a hidden layer per head.
        """
        start_ray(max(settings.threads, runners + 1))
        stack = None if connectors else common.FRAME_STACK
        register_env("benchmark", lambda _: _make(settings.game, stack))
        config = (
            PPOConfig()
            .environment("benchmark")
            .env_runners(
                num_env_runners=runners,
                num_envs_per_env_runner=settings.num_envs // max(1, runners),
                rollout_fragment_length=settings.rollout_steps,
                env_to_module_connector=_stack_for_module if connectors else None,
            )
            .learners(
                num_learners=0,
                num_gpus_per_learner=int(torch.cuda.is_available()),
                learner_connector=_stack_for_learner if connectors else None,
            )
            .training(
                train_batch_size_per_learner=settings.rollout_observations,
                minibatch_size=settings.batch_observations,
                num_epochs=settings.epochs,
                lr=settings.learning_rate,
                gamma=common.GAMMA,
                lambda_=common.GAE_LAMBDA,
                clip_param=common.CLIP,
                vf_loss_coeff=common.VALUE_COEFFICIENT,
                entropy_coeff=common.ENTROPY_COEFFICIENT,
                grad_clip=common.MAX_GRAD_NORM,
                use_kl_loss=False,
            )
            .rl_module(rl_module_spec=_padded() if encoder else RLModuleSpec(module_class=NatureModule))
            .debugging(seed=settings.seed, log_level="ERROR")
        )
        self._algorithm = config.build_algo()
        torch.set_num_threads(settings.threads)

    def run(self, observations: int) -> dict[str, Any]:
        """Trains; counts the observations that RLlib reports, since it may overshoot its batch size."""
        before, done = self._sampled(), 0
        while done < observations:
            self._algorithm.train()
            done = self._sampled() - before
        return {"observations": done}

    def close(self) -> None:
        """Stops the algorithm and its Ray."""
        stop_rllib(self._algorithm)

    def _sampled(self) -> int:
        assert self._algorithm.metrics is not None
        return int(self._algorithm.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))


def _make(game: str, stack: int | None) -> gymnasium.Env[Any, Any]:
    name, arguments = atari_id(game)
    env = gymnasium.make(name, **arguments)
    return wrap_atari_for_new_api_stack(env, dim=common.IMAGE_SIZE, frameskip=common.FRAME_SKIP, framestack=stack)


def _padded() -> RLModuleSpec:
    return RLModuleSpec(
        model_config=DefaultModelConfig(
            conv_filters=list(FILTERS), conv_activation="relu", head_fcnet_hiddens=[512], vf_share_layers=True
        )
    )


def _stack_for_module(*_: Any, **__: Any) -> Any:
    return FrameStackingEnvToModule(num_frames=common.FRAME_STACK)


def _stack_for_learner(*_: Any, **__: Any) -> Any:
    return FrameStackingLearner(num_frames=common.FRAME_STACK)
