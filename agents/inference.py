"""The network's forward pass for playing: weights converted and packed once a rollout, rectifiers fused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from agents.convolutions import Frames, NativeConvolutions
from agents.network import ActorCritic
from agents.precision import autocast

Policy = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps observations uint8 [batch, stack, height, width] to logits [batch, actions] and values [batch], float32."""


@contextlib.contextmanager
def playing(network: ActorCritic, precision: str, batch: int) -> Iterator[Policy]:
    """Gives the fastest way to evaluate the network's present weights, for one rollout.

    On a processor small batches spend more time in preparing operations than in them: at 4 observations the module
    takes twice as long as oneDNN's own operations on packed weights, which torch's compiler uses and which are used
    here. Elsewhere, or where torch was built without them, it is the module itself under one autocast, which converts
    the weights once.

    Args:
        network: Must not be trained meanwhile.
        precision: `float32` or `bfloat16`.
        batch: Observations at a time that the weights are packed for; others work too.
    """
    device = next(network.parameters()).device
    with torch.no_grad():
        if device.type == "cpu" and can_pack():
            yield _packed(network, torch.bfloat16 if precision == "bfloat16" else torch.float32, batch)
        else:
            with autocast(device, precision):
                yield lambda observations: network(observations)


def can_pack() -> bool:
    """Says whether this torch has oneDNN's operations on packed weights."""
    names = ("_reorder_convolution_weight", "_convolution_pointwise", "_reorder_linear_weight", "_linear_pointwise")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in names)


def _packed(network: ActorCritic, dtype: torch.dtype, batch: int) -> Policy:
    operations = torch.ops.mkldnn
    by_kernels = dtype == torch.bfloat16 and NativeConvolutions.fit(network)
    features = _by_kernels(network) if by_kernels else _by_operations(network, dtype, batch)
    hidden = network.body[-2]
    assert isinstance(hidden, nn.Linear)
    hidden_weight = operations._reorder_linear_weight(hidden.weight.to(dtype), batch)
    hidden_bias = hidden.bias.to(dtype)
    heads = torch.cat([network.policy_head.weight, network.value_head.weight]).T.contiguous()
    heads_bias = torch.cat([network.policy_head.bias, network.value_head.bias])

    def evaluate(observations: Tensor) -> tuple[Tensor, Tensor]:
        x = operations._linear_pointwise(features(observations), hidden_weight, hidden_bias, "relu", [], "")
        both = torch.addmm(heads_bias, x.to(heads.dtype), heads)
        return both[:, :-1], both[:, -1]

    return evaluate


def _by_kernels(network: ActorCritic) -> Callable[[Tensor], Tensor]:
    convolutions = NativeConvolutions(network)

    def features(observations: Tensor) -> Tensor:
        found, outputs = convolutions.forward(*Frames.of_observations(observations.contiguous()))
        convolutions.take_back(outputs)
        return found

    return features


def _by_operations(network: ActorCritic, dtype: torch.dtype, batch: int) -> Callable[[Tensor], Tensor]:
    operations = torch.ops.mkldnn
    convolutions: list[tuple[Tensor, Tensor, list[int]]] = []
    shape = [batch, network.frame_stack, network.image_size, network.image_size]
    for layer in network.body:
        if not isinstance(layer, nn.Conv2d):
            continue
        assert layer.bias is not None
        stride, kernel = list(layer.stride), layer.kernel_size[0]
        # The first weights are divided by 255 in place of the pixels, as in the module.
        weight = (layer.weight if convolutions else layer.weight / 255).to(dtype)
        packed = operations._reorder_convolution_weight(weight, [0, 0], stride, [1, 1], 1, shape)
        convolutions.append((packed, layer.bias.to(dtype), stride))
        side = (shape[2] - kernel) // stride[0] + 1
        shape = [batch, layer.out_channels, side, side]

    def features(observations: Tensor) -> Tensor:
        x = observations.to(dtype)
        for weight, bias, stride in convolutions:
            x = operations._convolution_pointwise(x, weight, bias, [0, 0], stride, [1, 1], 1, "relu", [], "")
        return x.flatten(1)

    return features
