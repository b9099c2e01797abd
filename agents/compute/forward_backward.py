"""Forward passes of a network, and how losses of their outputs are differentiated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, final

import torch
from torch import Tensor

from rlgns.agents.compute import native
from rlgns.agents.compute.convolutions import Frames, NativeConvolutions
from rlgns.agents.network import ActorCritic

Row = Sequence[Tensor]
"""The gradient by each parameter of a network, in order; float32 views of one vector."""


class NetworkPass(Protocol):
    """Outputs of a network for a batch."""

    @property
    def logits(self) -> Tensor:
        """Float32 [batch, actions]; `differentiate` takes losses of it and of the values."""

    @property
    def values(self) -> Tensor:
        """Float32 [batch]."""

    def differentiate(self, loss: Tensor, rows: Sequence[Row], sizes: Sequence[int], *, again: bool = False) -> None:
        """Overwrites rows with gradients.

        Args:
            loss: A mean over the batch of terms that depend on one observation each.
            rows: One for each part of the batch: receives the gradient of the mean over that part.
            sizes: Observations of each part, in order.
            again: Whether another loss of the same outputs will be differentiated afterwards.
        """


@final
class AutogradPass:
    """A batch evaluated by the network's own modules; it has one part."""

    def __init__(self, network: ActorCritic, observations: Tensor) -> None:
        """Runs the forward pass."""
        self._parameters = list(network.parameters())
        self.logits, self.values = network(observations)

    def differentiate(self, loss: Tensor, rows: Sequence[Row], sizes: Sequence[int], *, again: bool = False) -> None:
        """As in NetworkPass."""
        (row,) = rows
        gradients = torch.autograd.grad(loss, self._parameters, retain_graph=again, materialize_grads=True)
        for view, gradient in zip(row, gradients, strict=True):
            view.copy_(gradient)


@final
class KernelPass:
    """A batch evaluated by the compiled kernels; one backward pass gives the gradients of all its parts."""

    def __init__(
        self,
        network: ActorCritic,
        convolutions: NativeConvolutions,
        heads: tuple[Tensor, Tensor],
        frames: Frames,
        where: Tensor,
    ) -> None:
        """Runs the forward pass.

        Args:
            network: A chain whose hidden layer is bfloat16.
            convolutions: Its convolutions.
            heads: Float32 weights and biases of both heads (`ActorCritic.joined_heads`).
            frames: The rollouts' frames.
            where: Observations, `step * num_envs + env`.
        """
        self._convolutions, self._frames, self._where = convolutions, frames, where
        assert network.chain is not None
        self._hidden_layer, self._heads = network.chain.hidden, heads[0]
        with torch.no_grad():
            self._features, self._outputs = convolutions.forward(frames, where)
            self._hidden = torch.relu_(self._hidden_layer(self._features))
            self._both = torch.addmm(heads[1], self._hidden.float(), heads[0].T)
        self._both.requires_grad_()
        self.logits, self.values = self._both[:, :-1], self._both[:, -1]

    def __del__(self) -> None:
        """Returns the memory of the layers' outputs, the largest block of a pass."""
        if hasattr(self, "_outputs"):
            self._convolutions.take_back(self._outputs)

    def differentiate(self, loss: Tensor, rows: Sequence[Row], sizes: Sequence[int], *, again: bool = False) -> None:
        """As in NetworkPass."""
        (both,) = torch.autograd.grad(loss, [self._both], retain_graph=again)
        with torch.no_grad():
            if len(sizes) > 1:
                each = torch.tensor(sizes)
                both *= (len(both) / each).repeat_interleave(each)[:, None]
            hidden = torch.ops.aten.threshold_backward((both @ self._heads).to(self._hidden.dtype), self._hidden, 0)
            features = hidden @ self._hidden_layer.weight
            begin = 0
            for row, size in zip(rows, sizes, strict=True):
                part = slice(begin, begin + size)
                begin += size
                *convolutions, weight, bias, policy, policy_bias, value, value_bias = row
                heads = both[part].T @ self._hidden[part].float()
                policy.copy_(heads[:-1])
                value.copy_(heads[-1:])
                biases = both[part].sum(0)
                policy_bias.copy_(biases[:-1])
                value_bias.copy_(biases[-1:])
                outer_products(hidden[part], self._features[part], weight)
                torch.sum(hidden[part], 0, dtype=bias.dtype, out=bias)
                self._convolutions.backward(self._frames, self._where, self._outputs, features, part, convolutions)


def outer_products(left: Tensor, right: Tensor, result: Tensor) -> None:
    """Writes left^T right to float32 `result` [rows, columns]; left and right: bfloat16 [batch, rows or columns]."""
    count, rows, columns = len(left), left.shape[1], right.shape[1]
    scratch = native.scratch((count + 31) // 32 * 32 * (rows + columns + 64))
    native.call("outer_products", left, right, result, scratch, count, rows, columns)
