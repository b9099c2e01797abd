"""The actor-critic network: convolutions, one hidden layer, a policy head and a value head."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from agents.config import NetworkConfig


class ActorCritic(nn.Module):
    """Maps stacked frames to action logits and a state value.

    The default is the network of Mnih et al. 2015 ("Nature CNN"), with the orthogonal initialisation that OpenAI
    Baselines uses: gain sqrt(2) in the body, 0.01 in the policy head, 1 in the value head, zero biases.
    """

    def __init__(self, config: NetworkConfig, *, num_actions: int, frame_stack: int, image_size: int) -> None:
        """Builds the layers. Raises ValueError where an image is too small for the convolutions."""
        super().__init__()
        self.num_actions, self.frame_stack, self.image_size = num_actions, frame_stack, image_size
        layers: list[nn.Module] = []
        channels, size = frame_stack, image_size
        for width, kernel, stride in zip(config.channels, config.kernels, config.strides, strict=True):
            if size < kernel:
                raise ValueError(
                    f"env.image_size {image_size} is too small for network.kernels {config.kernels}: "
                    f"{size} pixels are left before a kernel of {kernel}"
                )
            layers += [nn.Conv2d(channels, width, kernel, stride), nn.ReLU(inplace=True)]
            channels, size = width, (size - kernel) // stride + 1
        layers += [nn.Flatten(), nn.Linear(channels * size * size, config.hidden), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.policy_head = nn.Linear(config.hidden, num_actions)
        self.value_head = nn.Linear(config.hidden, 1)
        for layer in self.body:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                _orthogonal(layer, math.sqrt(2))
        _orthogonal(self.policy_head, 0.01)
        _orthogonal(self.value_head, 1.0)

    def layers(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by layer, in the order of `parameters()`: conv1, conv2, ..., hidden, policy_head, value_head."""
        convolutions = [layer for layer in self.body if isinstance(layer, nn.Conv2d)]
        named: dict[str, nn.Module] = {f"conv{number}": layer for number, layer in enumerate(convolutions, start=1)}
        named |= {"hidden": self.body[-2], "policy_head": self.policy_head, "value_head": self.value_head}
        return {name: list(layer.parameters()) for name, layer in named.items()}

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluates the policy and the value.

        Args:
            observations: uint8 [batch, frame_stack, height, width].

        Returns:
            Logits float32 [batch, actions] and values float32 [batch]. Under autocast the body runs in its precision;
            the heads always run in float32, since the probability ratio is an exponential of differences of logits.
        """
        device = observations.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.policy_head.weight.dtype
        first, *rest = self.body
        assert isinstance(first, nn.Conv2d)
        # Pixels are whole numbers, exact in bfloat16; the first weights are divided by 255 in their place: a pass less.
        hidden = functional.conv2d(observations.to(dtype), first.weight / 255, first.bias, first.stride)
        for layer in rest:
            hidden = layer(hidden)
        with torch.autocast(device, enabled=False):
            hidden = hidden.to(self.policy_head.weight.dtype)
            return self.policy_head(hidden), self.value_head(hidden).squeeze(-1)


def _orthogonal(layer: nn.Conv2d | nn.Linear, gain: float) -> None:
    nn.init.orthogonal_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
