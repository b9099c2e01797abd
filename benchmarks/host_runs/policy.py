"""One network for all hosts: Stable-Baselines3's policy, which RLlib's module wraps, with weights of ours on demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import torch
from gymnasium import Space
from gymnasium.spaces import Box
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from benchmarks.host_runs.settings import ADAM_EPSILON, PRESET, HostRun
from rlgns.agents.network import ActorCritic, ConvolutionalBody
from rlgns.config.load import resolve
from rlgns.storage.checkpoint import load_policy


@final
class BodyExtractor(BaseFeaturesExtractor):
    """The convolutions and the hidden layer of rlgns's network."""

    def __init__(self, observation_space: Box) -> None:
        """Builds them for stacks of frames, uint8 [stack, side, side]."""
        stack, side, _ = observation_space.shape
        body = ConvolutionalBody(resolve([PRESET], {}).network, frame_stack=stack, image_size=side)
        super().__init__(observation_space, body.features)
        self.body = body

    def forward(self, observations: Tensor) -> Tensor:
        """Returns features [batch, features]; pixels are 0 to 255."""
        features: Tensor = self.body(observations)
        return features


def policy_settings(observation_space: Space[Any]) -> dict[str, Any]:
    """Returns `policy_kwargs` of Stable-Baselines3."""
    optimizer = {"optimizer_kwargs": {"eps": ADAM_EPSILON}}
    if len(observation_space.shape or ()) == 1:
        return {"net_arch": {"pi": [64, 64], "vf": [64, 64]}, **optimizer}
    return {"features_extractor_class": BodyExtractor, "normalize_images": False, "net_arch": [], **optimizer}


def build_policy(run: HostRun, observation_space: Space[Any], action_space: Space[Any]) -> ActorCriticPolicy:
    """Returns the policy that a run begins with: the checkpoint's, or random weights that its seed determines."""
    with torch.random.fork_rng():
        torch.manual_seed(run.seed)
        policy = ActorCriticPolicy(
            observation_space, action_space, lambda _: run.learning_rate, **policy_settings(observation_space)
        )
    if run.checkpoint:
        copy_weights(load_policy(Path(run.checkpoint)).network, policy)
    return policy


def copy_weights(network: ActorCritic, policy: ActorCriticPolicy) -> None:
    """Gives the policy the weights of a network of rlgns."""
    for ours, theirs in (
        (network.body, policy.features_extractor.body),
        (network.policy_head, policy.action_net),
        (network.value_head, policy.value_net),
    ):
        theirs.load_state_dict(ours.state_dict())


@final
class PolicyModule(TorchRLModule, ValueFunctionAPI):
    """The same policy as a module of RLlib; `model_config["run"]` is a HostRun."""

    def setup(self) -> None:
        """Builds the policy."""
        assert isinstance(self.model_config, dict)
        assert self.observation_space is not None
        assert self.action_space is not None
        self._policy = build_policy(self.model_config["run"], self.observation_space, self.action_space)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        return {Columns.ACTION_DIST_INPUTS: self._policy.action_net(self._latents(batch)[0])}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        of_policy, of_value = self._latents(batch)
        return {Columns.ACTION_DIST_INPUTS: self._policy.action_net(of_policy), Columns.EMBEDDINGS: of_value}

    def compute_values(self, batch: dict[str, Any], embeddings: Tensor | None = None) -> Tensor:
        """Returns the values; the loss passes the embeddings in, so the body runs once."""
        latent = self._latents(batch)[1] if embeddings is None else embeddings
        values: Tensor = self._policy.value_net(latent).squeeze(-1)
        return values

    def _latents(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        latents: tuple[Tensor, Tensor] = self._policy.mlp_extractor(self._policy.extract_features(batch[Columns.OBS]))
        return latents
