"""The network's forward pass for playing: weights converted and packed once per rollout, rectifiers fused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import final

import torch
from torch import Tensor

from rlgns.agents.compute.convolutions import Frames, NativeConvolutions
from rlgns.agents.compute.precision import autocast
from rlgns.agents.network import ActorCritic

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

Policy = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps observations uint8 [batch, stack, height, width] to logits [batch, actions] and values [batch], float32."""


@final
class Player:
    """The fastest way to evaluate a network's weights in one thread, rollout after rollout.

    On a processor, small batches spend more time preparing operations than computing: at 4 observations the module
    takes twice as long as oneDNN's operations on packed weights, which torch's compiler uses too. On other devices, for
    networks that are no chain, or where torch lacks those operations, it runs the module under one autocast.
    """

    def __init__(self, network: ActorCritic, precision: str, batch: int) -> None:
        """Packs nothing yet.

        Args:
            network: The network that plays.
            precision: `float32` or `bfloat16`.
            batch: Batch size that the weights are packed for; other sizes work too.
        """
        self._network, self._precision = network, precision
        self._device = next(network.parameters()).device
        packs = self._device.type == "cpu" and network.chain is not None and can_pack()
        self._packed = _Packed(network, _DTYPES[precision], batch) if packs else None

    @contextlib.contextmanager
    def playing(self) -> Iterator[Policy]:
        """Yields a policy with the network's current weights, which must not be trained meanwhile."""
        with torch.no_grad():
            if self._packed:
                self._packed.refresh()
                yield self._packed.evaluate
            else:
                with autocast(self._device, self._precision):
                    yield lambda observations: self._network(observations)


def can_pack() -> bool:
    """Says whether this torch has oneDNN's operations on packed weights."""
    names = ("_reorder_convolution_weight", "_convolution_pointwise", "_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


@final
class _Packed:
    """A network's weights as oneDNN or the compiled kernels want them.

    Blocks of megabytes that are allocated and freed leave gaps in memory, which add up over hours. So the hidden
    layer's converted weights keep their memory, and the packed ones live until the next rollout replaces them.
    """

    def __init__(self, network: ActorCritic, dtype: torch.dtype, batch: int) -> None:
        by_kernels = dtype == torch.bfloat16 and NativeConvolutions.fit(network)
        self._features = _ByKernels(network) if by_kernels else _ByOperations(network, dtype, batch)
        assert network.chain is not None
        hidden = network.chain.hidden
        self._network, self._hidden, self._batch = network, hidden, batch
        self._converted = torch.empty_like(hidden.weight, dtype=dtype)
        self._hidden_weight: Tensor | None = None

    def refresh(self) -> None:
        """Packs the network's current weights."""
        network, hidden = self._network, self._hidden
        self._features.refresh()
        self._converted.copy_(hidden.weight)
        self._hidden_weight = None  # frees the old weights before the new ones are allocated
        self._hidden_weight = torch.ops.mkldnn._reorder_linear_weight(self._converted, self._batch)
        self._hidden_bias = hidden.bias.to(self._converted.dtype)
        weight, self._heads_bias = network.joined_heads()
        self._heads = weight.T.contiguous()

    def evaluate(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluates observations; a `Policy`."""
        features, weight = self._features(observations), self._hidden_weight
        x = torch.ops.mkldnn._linear_pointwise(features, weight, self._hidden_bias, "relu", [], "")
        both = torch.addmm(self._heads_bias, x.to(self._heads.dtype), self._heads)
        return both[:, :-1], both[:, -1]


@final
class _ByKernels:
    """Features by the compiled kernels."""

    def __init__(self, network: ActorCritic) -> None:
        self._convolutions = NativeConvolutions(network)

    def refresh(self) -> None:
        self._convolutions.refresh()

    def __call__(self, observations: Tensor) -> Tensor:
        features, outputs = self._convolutions.forward(*Frames.of_observations(observations.contiguous()))
        self._convolutions.take_back(outputs)
        return features


@final
class _ByOperations:
    """Features by oneDNN's operations."""

    def __init__(self, network: ActorCritic, dtype: torch.dtype, batch: int) -> None:
        self._network, self._dtype, self._batch = network, dtype, batch

    def refresh(self) -> None:
        network, operations = self._network, torch.ops.mkldnn
        self._layers: list[tuple[Tensor, Tensor, list[int]]] = []
        shape = [self._batch, network.frame_stack, network.image_size, network.image_size]
        assert network.chain is not None
        for layer in network.chain.convolutions:
            assert layer.bias is not None
            stride, kernel = list(layer.stride), layer.kernel_size[0]
            # The first weights are divided by 255 instead of the pixels, as in the module.
            weight = (layer.weight if self._layers else layer.weight / 255).to(self._dtype)
            packed = operations._reorder_convolution_weight(weight, [0, 0], stride, [1, 1], 1, shape)
            self._layers.append((packed, layer.bias.to(self._dtype), stride))
            side = (shape[2] - kernel) // stride[0] + 1
            shape = [self._batch, layer.out_channels, side, side]

    def __call__(self, observations: Tensor) -> Tensor:
        x = observations.to(self._dtype)
        for weight, bias, stride in self._layers:
            x = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, [0, 0], stride, [1, 1], 1, "relu", [], "")
        return x.flatten(1)
