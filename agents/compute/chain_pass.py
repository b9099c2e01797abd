"""A chain of layers evaluated by torch's operations; one backward pass gives the gradients of all parts of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from rlgns.agents.compute.forward_backward import Row
from rlgns.agents.network import ActorCritic, from_blocks, in_blocks


@final
class ChainPass:
    """A batch evaluated layer by layer, any device and precision.

    Gradients by the layers' inputs are computed for the whole batch at once. The gradient by a layer's weights is a sum
    over observations, so only that sum is split by parts: batched products of gradients and inputs, a part each.
    """

    def __init__(self, network: ActorCritic, heads: tuple[Tensor, Tensor], observations: Tensor) -> None:
        """Runs the forward pass.

        Args:
            network: A chain. Its layers but the first are in the type of the hidden layer.
            heads: Float32 weights and biases of both heads (`ActorCritic.joined_heads`).
            observations: As for `ActorCritic.forward`.
        """
        assert network.chain is not None
        self._convolutions, self._hidden_layer = network.chain
        self._heads, self._block = heads[0], 1
        with torch.no_grad():
            x = observations.to(self._hidden_layer.weight.dtype)
            # The first weights are divided by 255 instead of the pixels, as in the module.
            first = self._convolutions[0]
            weight, strides = first.weight / 255, [layer.stride for layer in self._convolutions]
            if observations.shape[1] != network.frame_stack:
                self._block, strides[0] = network.block, (1, 1)
                weight = in_blocks(weight, network.block)
            weights = [weight.to(x.dtype), *(layer.weight for layer in self._convolutions[1:])]
            self._layers = list(zip(weights, strides, strict=True))
            self._inputs: list[Tensor] = []
            for (weight, stride), layer in zip(self._layers, self._convolutions, strict=True):
                assert layer.bias is not None
                self._inputs.append(x)
                x = functional.conv2d(x, weight, layer.bias.to(x.dtype), stride)
                if layer is not self._convolutions[-1]:
                    torch.relu_(x)
            self._shape = x.shape
            # The last rectifier comes after flattening, as in the module.
            self._features = torch.relu_(x.flatten(1))
            self._hidden = torch.relu_(self._hidden_layer(self._features))
            self._both = torch.addmm(heads[1], self._hidden.to(self._heads.dtype), self._heads.T)
        self._both.requires_grad_()
        self.logits, self.values = self._both[:, :-1], self._both[:, -1]

    @property
    def features(self) -> Tensor:
        """Inputs of the hidden layer, [batch, inputs]."""
        return self._features

    def differentiate(self, loss: Tensor, rows: Sequence[Row], sizes: Sequence[int], *, again: bool = False) -> None:
        """As in NetworkPass."""
        (both,) = torch.autograd.grad(loss, [self._both], retain_graph=again)
        with torch.no_grad():
            gradients, hidden = self._by_parameter(_means_of_parts(both, sizes), sizes)
            gradients.insert(2 * len(self._layers), _products(hidden, self._features, sizes))
            _copy_to(rows, gradients)

    def differentiate_factored(
        self, loss: Tensor, rows: Sequence[Row], sizes: Sequence[int], *, again: bool = False
    ) -> Tensor:
        """As `differentiate`, but for the hidden layer's weights, which the rows lack.

        Returns:
            Gradients by the hidden layer's outputs, before its rectifier, [batch, outputs], of the mean over each part.
            A part's gradient by the weights is their product with the `features` over the part.
        """
        (both,) = torch.autograd.grad(loss, [self._both], retain_graph=again)
        with torch.no_grad():
            gradients, hidden = self._by_parameter(_means_of_parts(both, sizes), sizes)
            _copy_to(rows, gradients)
        return hidden

    def _by_parameter(self, both: Tensor, sizes: Sequence[int]) -> tuple[list[Tensor], Tensor]:
        """Returns gradients by each parameter but the hidden layer's weights, and by that layer's outputs.

        Args:
            both: Gradient by the heads' outputs.
            sizes: Observations of each part.

        Returns:
            [parts, ...] for each parameter, in the network's order; and [batch, outputs].
        """
        heads, heads_biases = _products(both, self._hidden.to(both.dtype), sizes), _sums(both, sizes)
        hidden = _rectified((both @ self._heads).to(self._hidden.dtype), self._hidden)
        features = _rectified(hidden @ self._hidden_layer.weight, self._features)
        found = [heads[:, :-1], heads_biases[:, :-1], heads[:, -1:], heads_biases[:, -1:]]
        found = [_sums(hidden, sizes), *found]
        gradient = features.view(self._shape)
        for number in reversed(range(len(self._layers))):
            weight, stride = self._layers[number]
            x = self._inputs[number]
            by_weight = _convolution_products(x, weight, gradient, stride, sizes)
            if number == 0:
                by_weight = from_blocks(by_weight, self._block) / 255
            found = [by_weight, _sums(gradient.sum((2, 3)), sizes), *found]
            if number:
                gradient = _rectified(_by_input(x, weight, gradient, stride), x)
        return found, hidden


def _copy_to(rows: Sequence[Row], gradients: Sequence[Tensor]) -> None:
    """Copies gradients [parts, ...] by each parameter to each part's row."""
    to = [view for row in rows for view in row]
    torch._foreach_copy_(to, [of_parameter[part] for part in range(len(rows)) for of_parameter in gradients])


def _means_of_parts(gradient: Tensor, sizes: Sequence[int]) -> Tensor:
    """Turns gradients of the batch's mean into those of the mean of each observation's part, [batch, ...]."""
    if len(set(sizes)) == 1:
        return gradient * len(sizes)
    each = torch.tensor(sizes)
    factors = (len(gradient) / each).repeat_interleave(each)[:, None]
    return gradient * factors.to(gradient.device, gradient.dtype)


def _rectified(gradient: Tensor, output: Tensor) -> Tensor:
    """Returns the gradient by a rectifier's input."""
    return torch.ops.aten.threshold_backward(gradient, output, 0)


def _sums(values: Tensor, sizes: Sequence[int]) -> Tensor:
    """Returns float sums over each part of values [batch, n]: [parts, n], in float32 or wider."""
    dtype = torch.promote_types(values.dtype, torch.float32)
    if len(set(sizes)) == 1:
        return values.view(len(sizes), sizes[0], -1).sum(1, dtype=dtype)
    return torch.stack([part.sum(0, dtype=dtype) for part in values.split(list(sizes))])


def _products(left: Tensor, right: Tensor, sizes: Sequence[int]) -> Tensor:
    """Returns left^T right over each part, [parts, n, m]; left [batch, n], right [batch, m]."""
    if len(set(sizes)) == 1:
        shape = (len(sizes), sizes[0], -1)
        return _batched(left.view(shape).transpose(1, 2), right.view(shape))
    parts = zip(left.split(list(sizes)), right.split(list(sizes)), strict=True)
    return torch.stack([_batched(one.T[None], other[None])[0] for one, other in parts])


def _batched(left: Tensor, right: Tensor) -> Tensor:
    """Returns products of matrices; of bfloat16 ones on a GPU the float32 sums, not rounded again."""
    if left.is_cuda and left.dtype == torch.bfloat16:
        return torch.bmm(left, right, out_dtype=torch.float32)
    return torch.bmm(left, right)


def _convolution_products(
    x: Tensor, weight: Tensor, gradient: Tensor, stride: tuple[int, ...], sizes: Sequence[int]
) -> Tensor:
    """Returns the gradient by a convolution's weights over each part, [parts, *weight.shape].

    Args:
        x: Its input [batch, in, height, width].
        weight: [out, in, k, k].
        gradient: By its output [batch, out, height, width].
        stride: Of the convolution.
        sizes: Observations of each part.
    """
    parts = zip(x.split(list(sizes)), gradient.split(list(sizes)), strict=True)
    return torch.stack([_convolution_backward(g, one, weight, stride, 1) for one, g in parts])


def _by_input(x: Tensor, weight: Tensor, gradient: Tensor, stride: tuple[int, ...]) -> Tensor:
    return _convolution_backward(gradient, x, weight, stride, 0)


def _convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor, stride: tuple[int, ...], which: int) -> Tensor:
    """Returns the gradient by the input (`which` 0) or by the weights (1)."""
    mask = [number == which for number in range(3)]
    found: Tensor = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, list(stride), [0, 0], [1, 1], False, [0, 0], 1, mask
    )[which]
    return found
