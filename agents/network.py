"""The actor-critic network: convolutions, one hidden layer, a policy head and a value head."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlgns.agents.config import NetworkConfig
from rlgns.agents.rollout import WORDS


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
        channels, sides = frame_stack, config.sides(image_size)
        convolutions = zip(config.channels, config.kernels, config.strides, strict=True)
        for size, (width, kernel, stride) in zip(sides[:-1], convolutions, strict=True):
            if size < kernel:
                raise ValueError(
                    f"env.image_size {image_size} is too small for network.kernels {config.kernels}: "
                    f"{size} pixels are left before a kernel of {kernel}"
                )
            layers += [nn.Conv2d(channels, width, kernel, stride), nn.ReLU(inplace=True)]
            channels = width
        # The last rectifier behind Flatten: before it, gradient and activations lie in memory in different orders.
        layers[-1:] = [nn.Flatten(), layers[-1]]
        layers += [nn.Linear(channels * sides[-1] ** 2, config.hidden), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.block = block_of(config.kernels[0], config.strides[0], image_size)
        """Side of the blocks of pixels in which the first layer reads images fastest; 1: as they are."""
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
            observations: uint8 [batch, frame_stack, height, width], or the same in blocks of `block` x `block` pixels,
                [batch, frame_stack * block^2, height / block, width / block] (`FrameStacks.gather`).

        Returns:
            Logits float32 [batch, actions] and values float32 [batch]. Under autocast the body runs in its precision,
            else in that of its last layer's weights; the heads always run in float32, since the probability ratio is an
            exponential of differences of logits.
        """
        device = observations.device.type
        first, *rest = self.body
        assert isinstance(first, nn.Conv2d)
        assert first.bias is not None
        dtype = next(self.body[-2].parameters()).dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        # Pixels are whole numbers, exact in bfloat16; the first weights are divided by 255 in their place: a pass less.
        weight = first.weight / 255
        stride = first.stride
        if observations.shape[1] != self.frame_stack:
            weight, stride = in_blocks(weight, self.block), (1, 1)
        hidden = functional.conv2d(observations.to(dtype), weight.to(dtype), first.bias.to(dtype), stride)
        for layer in rest:
            hidden = layer(hidden)
        with torch.autocast(device, enabled=False):
            hidden = hidden.to(self.policy_head.weight.dtype)
            return self.policy_head(hidden), self.value_head(hidden).squeeze(-1)


def block_of(kernel: int, stride: int, image_size: int) -> int:
    """The stride, where a layer can read blocks of stride x stride pixels as one of many channels, else 1.

    A convolution of stride s is one of stride 1 over s x s blocks (space to depth), with kernel / s blocks a side: few
    wide pixels instead of many narrow ones. It needs whole blocks, and blocks whose bytes move as one word.
    """
    whole = kernel % stride == 0 and image_size % stride == 0
    return stride if whole and stride**2 in WORDS else 1


def in_blocks(weight: Tensor, block: int) -> Tensor:
    """Weights [out, in, k, k] of a convolution of stride `block` as [out, in * block^2, k / block, k / block]."""
    out, channels, kernel, _ = weight.shape
    side = kernel // block
    split = weight.view(out, channels, side, block, side, block).permute(0, 1, 3, 5, 2, 4)
    return split.reshape(out, channels * block**2, side, side).contiguous(memory_format=torch.channels_last)


def _orthogonal(layer: nn.Conv2d | nn.Linear, gain: float) -> None:
    nn.init.orthogonal_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
