"""The actor-critic network: a body that turns frames into features, a policy head and a value head.

To add a network, write another `Body`, choose it in `build_network` and add its keys to `NetworkConfig`.
"""

from __future__ import annotations

import abc
import math
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlgns.agents.config import NetworkConfig
from rlgns.agents.rollout import WORDS


def build_network(config: NetworkConfig, *, num_actions: int, frame_stack: int, image_size: int) -> ActorCritic:
    """Builds the network of a configuration with random weights. Raises ValueError where images are too small for it.

    Under `torch.device("meta")` it takes neither memory nor random numbers, which suits questions about its size.
    """
    body = ConvolutionalBody(config, frame_stack=frame_stack, image_size=image_size)
    return ActorCritic(body, num_actions=num_actions, frame_stack=frame_stack, image_size=image_size)


class Chain(NamedTuple):
    """Layers of a body that is nothing but these in a row, each followed by a rectifier; convolutions do not pad."""

    convolutions: list[nn.Conv2d]
    hidden: nn.Linear


class Body(nn.Module, abc.ABC):
    """Turns stacked frames into features.

    A subclass needs `forward`, `features` and `activations`. The rest has defaults: `layers` for reports, `block` and
    `chain` for faster paths.
    """

    features: int
    """Outputs per observation."""

    activations: int
    """Outputs of all layers per observation, which a pass keeps for its gradient: an estimate of memory needs it."""

    block: int = 1
    """`forward` gets images as blocks of this many pixels a side, which are channels then; 1: images as they are."""

    @abc.abstractmethod
    def forward(self, observations: Tensor) -> Tensor:
        """Evaluates observations, uint8 [batch, stack, height, width]: casts them and divides by 255 itself.

        With `block` b they are [batch, stack * b^2, height / b, width / b]. Returns [batch, features], any float type.
        """

    def layers(self) -> dict[str, nn.Module]:
        """Modules by name, for reports by layer; together they hold every parameter once, in order."""
        return {name: child for name, child in self.named_children() if next(child.parameters(), None) is not None}

    @property
    def chain(self) -> Chain | None:
        """What the compiled kernels, the packed weights and the bfloat16 copy can compute; None: torch computes all."""
        return None


@final
class ConvolutionalBody(Body, nn.Sequential):
    """Convolutions and one hidden layer; by default those of Mnih et al. 2015 ("Nature CNN")."""

    def __init__(self, config: NetworkConfig, *, frame_stack: int, image_size: int) -> None:
        """Builds the layers. Raises ValueError where images are too small for the convolutions."""
        config.check_image_size(image_size)
        sides, channels = config.sides(image_size), (frame_stack, *config.channels)
        layers: list[nn.Module] = []
        for before, width, kernel, stride in zip(
            channels[:-1], config.channels, config.kernels, config.strides, strict=True
        ):
            layers += [nn.Conv2d(before, width, kernel, stride), nn.ReLU(inplace=True)]
        # The last rectifier comes after Flatten: before it, gradient and activations differ in their order in memory.
        layers[-1:] = [nn.Flatten(), layers[-1]]
        super().__init__(*layers, nn.Linear(channels[-1] * sides[-1] ** 2, config.hidden), nn.ReLU(inplace=True))
        self._frame_stack = frame_stack
        self.features = config.hidden
        self.activations = sum(n * side**2 for n, side in zip(channels[1:], sides[1:], strict=True)) + config.hidden
        self.block = block_of(config.kernels[0], config.strides[0], image_size)

    @property
    def chain(self) -> Chain:
        """All layers with weights."""
        hidden = self[-2]
        assert isinstance(hidden, nn.Linear)
        return Chain([layer for layer in self if isinstance(layer, nn.Conv2d)], hidden)

    def layers(self) -> dict[str, nn.Module]:
        """Returns conv1, conv2, ..., hidden."""
        convolutions, hidden = self.chain
        return {**{f"conv{number}": layer for number, layer in enumerate(convolutions, start=1)}, "hidden": hidden}

    def forward(self, observations: Tensor) -> Tensor:
        """Runs in autocast's type where that is on, else in the type of the hidden layer's weights."""
        first, *rest = self
        assert isinstance(first, nn.Conv2d)
        assert first.bias is not None
        device = observations.device.type
        dtype = next(self[-2].parameters()).dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        # Pixels are whole numbers, exact in bfloat16. Dividing the first weights by 255 instead of them saves a pass.
        weight = first.weight / 255
        stride = first.stride
        if observations.shape[1] != self._frame_stack:
            weight, stride = in_blocks(weight, self.block), (1, 1)
        x = functional.conv2d(observations.to(dtype), weight.to(dtype), first.bias.to(dtype), stride)
        for layer in rest:
            x = layer(x)
        return x


@final
class ActorCritic(nn.Module):
    """Maps stacked frames to action logits and a state value.

    Weights are initialised as in OpenAI Baselines: orthogonal with gain sqrt(2) in the body, 0.01 in the policy head
    and 1 in the value head; biases are zero.
    """

    def __init__(self, body: Body, *, num_actions: int, frame_stack: int, image_size: int) -> None:
        """Adds the heads to a body and initialises all layers."""
        super().__init__()
        self.num_actions, self.frame_stack, self.image_size = num_actions, frame_stack, image_size
        self.body = body
        self.policy_head = nn.Linear(body.features, num_actions)
        self.value_head = nn.Linear(body.features, 1)
        for layer in body.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                _orthogonal(layer, math.sqrt(2))
        _orthogonal(self.policy_head, 0.01)
        _orthogonal(self.value_head, 1.0)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluates the policy and the value.

        Args:
            observations: uint8 [batch, frame_stack, height, width], or the same in blocks of `block` x `block` pixels,
                [batch, frame_stack * block^2, height / block, width / block] (`FrameStacks.gather`).

        Returns:
            Logits float32 [batch, actions] and values float32 [batch]. The heads always run in float32, since the
            probability ratio is an exponential of differences of logits.
        """
        features = self.body(observations)
        with torch.autocast(observations.device.type, enabled=False):
            features = features.to(self.policy_head.weight.dtype)
            return self.policy_head(features), self.value_head(features).squeeze(-1)

    @property
    def block(self) -> int:
        """Side of the blocks of pixels in which the body reads images fastest; 1: as they are."""
        return self.body.block

    @property
    def chain(self) -> Chain | None:
        """The body's layers where it is a plain chain of them (`Body.chain`)."""
        return self.body.chain

    @property
    def parameter_count(self) -> int:
        """Numbers that are trained."""
        return sum(parameter.numel() for parameter in self.parameters())

    def joined_heads(self) -> tuple[Tensor, Tensor]:
        """Returns weights [actions + 1, features] and biases [actions + 1] of both heads, the policy's first."""
        heads = (self.policy_head, self.value_head)
        return torch.cat([head.weight for head in heads]), torch.cat([head.bias for head in heads])

    def layers(self) -> dict[str, list[nn.Parameter]]:
        """Returns parameters by layer, in the order of `parameters()`: the body's layers, policy_head, value_head."""
        named = {**self.body.layers(), "policy_head": self.policy_head, "value_head": self.value_head}
        return {name: list(layer.parameters()) for name, layer in named.items()}


def block_of(kernel: int, stride: int, image_size: int) -> int:
    """Returns the stride where a layer can read blocks of stride x stride pixels as one of many channels, else 1.

    A convolution of stride s is one of stride 1 over s x s blocks (space to depth), with kernel / s blocks a side: few
    wide pixels instead of many narrow ones. It needs whole blocks, and blocks whose bytes move as one word.
    """
    whole = kernel % stride == 0 and image_size % stride == 0
    return stride if whole and stride**2 in WORDS else 1


def in_blocks(weight: Tensor, block: int) -> Tensor:
    """Returns weights [out, in, k, k] for images in blocks, the stride: [out, in * block^2, k / block, k / block]."""
    out, channels, kernel, _ = weight.shape
    side = kernel // block
    split = weight.view(out, channels, side, block, side, block).permute(0, 1, 3, 5, 2, 4)
    return split.reshape(out, channels * block**2, side, side).contiguous(memory_format=torch.channels_last)


def from_blocks(weight: Tensor, block: int) -> Tensor:
    """Undoes `in_blocks`: [..., out, in * block^2, k / block, k / block] becomes [..., out, in, k, k]."""
    *more, out, channels, side, _ = weight.shape
    split = weight.view(*more, out, channels // block**2, block, block, side, side)
    first = len(more)
    order = [*range(first), *(first + n for n in (0, 1, 4, 2, 5, 3))]
    return split.permute(order).reshape(*more, out, channels // block**2, side * block, side * block)


def _orthogonal(layer: nn.Conv2d | nn.Linear, gain: float) -> None:
    nn.init.orthogonal_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
