"""The network's convolutions by the compiled kernels: forward and backward passes in bfloat16, channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from rlgns.agents.compute import native
from rlgns.agents.network import ActorCritic

LANES = 16
"""Float32 numbers in a register; the kernels need layers whose widths are multiples of it."""


@final
class Frames:
    """Where the kernels find a rollout's frames, and how observations are made of them."""

    def __init__(self, frames: Tensor, missing: Tensor, num_envs: int) -> None:
        """Takes the fields of a FrameStacks.

        Args:
            frames: uint8 [time, env, height, width].
            missing: int64, for each observation, how many of its oldest frames count as zero.
            num_envs: Distance between the frames of an observation, in frames.
        """
        self._tensors = frames, missing  # the addresses below stay valid while these live
        self.source = native.Source(native.address(frames), native.address(missing), num_envs)

    @staticmethod
    def of_observations(observations: Tensor) -> tuple[Frames, Tensor]:
        """Returns the frames of whole observations uint8 [batch, stack, height, width], and the index of each."""
        batch, stack = observations.shape[:2]
        where = torch.arange(0, batch * stack, stack)
        return Frames(observations, torch.zeros(batch * stack, dtype=torch.int64), 1), where


@final
class NativeConvolutions:
    """The convolutions of a network on a processor. Any thread may use them, except during `refresh`.

    As under autocast, factors are bfloat16, sums are float32, and activations are rounded to bfloat16 between layers.
    Gradients of weights are float32 sums that are never rounded.
    """

    def __init__(self, network: ActorCritic) -> None:
        """Takes a network that does `fit`, and packs its current weights."""
        assert network.chain is not None
        self._layers = network.chain.convolutions
        self._shapes = layer_shapes(network)
        self._packed = native.Network(layers=len(self._shapes), stack=network.frame_stack)
        self._forward = [_like(forward_order(layer.weight)) for layer in self._layers]
        self._backward = [_like(backward_order(layer.weight)) for layer in self._layers[1:]]
        for number, shape in enumerate(self._shapes):
            self._packed.of[number] = shape
            self._packed.forward[number] = native.address(self._forward[number])
            if number:
                self._packed.backward[number] = native.address(self._backward[number - 1])
        self._scratch = native.call("scratch_size", self._packed)
        self._spare: list[Tensor] = []
        self.features = self._shapes[-1].out_side ** 2 * self._shapes[-1].out
        """Outputs of the last layer per observation."""
        self.refresh()

    @staticmethod
    def fit(network: ActorCritic) -> bool:
        """Says whether the kernels are available and can compute this network on its device."""
        layers = network.chain.convolutions if network.chain else []
        return (
            native.library() is not None
            and bool(layers)
            and next(network.parameters()).device.type == "cpu"
            and len(layers) <= native.MOST_LAYERS
            and network.frame_stack % 2 == 0
            and all(layer.out_channels % LANES == 0 for layer in layers)
        )

    @torch.no_grad()
    def refresh(self) -> None:
        """Packs the network's current weights."""
        for number, (layer, packed) in enumerate(zip(self._layers, self._forward, strict=True)):
            # The first weights are divided by 255 instead of the pixels, as in the module.
            packed.copy_(forward_order(layer.weight if number else layer.weight / 255))
            assert layer.bias is not None
            self._packed.bias[number] = native.address(layer.bias)
        for layer, packed in zip(self._layers[1:], self._backward, strict=True):
            packed.copy_(backward_order(layer.weight))

    def forward(self, frames: Frames, where: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluates some observations of a rollout, int64 [batch] of `step * num_envs + env`.

        Returns:
            Rectified features bfloat16 [batch, features], in the order of `nn.Flatten`, and what `backward` needs. Give
            the latter to `take_back` when done with it.
        """
        count = len(where)
        outputs = self._spare_or_new(count * sum(shape.out_side**2 * shape.out for shape in self._shapes))
        features = torch.empty(count, self.features, dtype=torch.bfloat16)
        scratch = native.scratch(self._scratch)
        native.call("forward_pass", self._packed, frames.source, where, count, outputs, features, scratch)
        return features, outputs

    def take_back(self, outputs: Tensor) -> None:
        """Keeps the memory of what `forward` returned, for its next calls."""
        self._spare.append(outputs)

    def _spare_or_new(self, size: int) -> Tensor:
        """Returns at least `size` bfloat16 numbers. Frees a spare that is too small, so that spares do not pile up."""
        try:
            spare = self._spare.pop()
            if len(spare) >= size:
                return spare
            del spare
        except IndexError:
            pass
        return torch.empty(size, dtype=torch.bfloat16)

    def backward(
        self, frames: Frames, where: Tensor, outputs: Tensor, gradient: Tensor, part: slice, to: Sequence[Tensor]
    ) -> None:
        """Differentiates what `forward` computed.

        Args:
            frames: As for `forward`.
            where: As for `forward`.
            outputs: What it returned.
            gradient: Gradient by the features, bfloat16 [batch, features].
            part: Observations of the batch whose gradients are summed.
            to: Receives the gradients by weight and bias of each layer, in the network's order.
        """
        sums = torch.zeros(sum(layer.weight.numel() + layer.out_channels for layer in self._layers))
        scratch = native.scratch(self._scratch)
        source, count = frames.source, len(where)
        native.call(
            "backward_pass", self._packed, source, where, count, part.start, part.stop, outputs, gradient, sums, scratch
        )
        parts = iter(
            sums.split([size for layer in self._layers for size in (layer.weight.numel(), layer.out_channels)])
        )
        for number, shape in enumerate(self._shapes):
            weight = next(parts).view(shape.kernel, shape.kernel, shape.in_, shape.out).permute(3, 2, 0, 1)
            to[2 * number].copy_(weight if number else weight / 255)
            to[2 * number + 1].copy_(next(parts))


def layer_shapes(network: ActorCritic) -> list[native.Layer]:
    """Returns the shapes of a chain's convolutions, first to last."""
    assert network.chain is not None
    side, shapes = network.image_size, []
    for layer in network.chain.convolutions:
        kernel, stride = layer.kernel_size[0], layer.stride[0]
        out_side = (side - kernel) // stride + 1
        shapes.append(native.Layer(side, layer.in_channels, kernel, stride, out_side, layer.out_channels))
        side = out_side
    return shapes


def _block(channels: int) -> int:
    return LANES if channels % (2 * LANES) else 2 * LANES


def forward_order(weight: Tensor) -> Tensor:
    """Returns weights [out, in, k, k] as [out / block, row, column, in / 2, block, 2]."""
    out, channels, kernel, _ = weight.shape
    block = _block(out)
    return weight.view(out // block, block, channels // 2, 2, kernel, kernel).permute(0, 4, 5, 2, 1, 3)


def backward_order(weight: Tensor) -> Tensor:
    """Returns weights [out, in, k, k] as [in / block, column, row, out / 2, block, 2]."""
    out, channels, kernel, _ = weight.shape
    block = _block(channels)
    return weight.view(out // 2, 2, channels // block, block, kernel, kernel).permute(2, 5, 4, 0, 3, 1)


def _like(weight: Tensor) -> Tensor:
    return torch.empty(weight.shape, dtype=torch.bfloat16)
