"""Rectified layers in bfloat16 on a processor, with backward passes faster than torch's own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

LEAST_CHANNELS = 64
"""Output channels from which plain products make a convolution's weight gradient faster than oneDNN's own way to it."""


def convolve(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """Rectified convolution, as `functional.relu(functional.conv2d(x, weight, bias, stride))` under autocast.

    Args:
        x: bfloat16 [batch, in, side, side].
        weight: float32 [out, in, kernel, kernel]; its gradient is float32, too.
        bias: float32 [out].
        stride: Of both directions.

    Returns:
        bfloat16 [batch, out, side, side], channels last in memory.
    """
    return _Convolution.apply(x, weight, bias, stride)


def connect(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Rectified linear layer: bfloat16 [batch, in] and float32 [out, in], [out] to bfloat16 [batch, out]."""
    return _Linear.apply(x, weight, bias)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        short = weight.to(torch.bfloat16, memory_format=torch.channels_last)
        with torch.autocast("cpu", enabled=False):
            y = functional.conv2d(x, short, bias.to(torch.bfloat16), stride).relu_()
        ctx.stride = stride
        ctx.save_for_backward(x, short, y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        x, weight, y = ctx.saved_tensors
        # Orders of memory that differ would cost ten times as much in the next line as in this one.
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        gradient = torch.ops.aten.threshold_backward(gradient, y, 0)
        by_products = len(weight) >= LEAST_CHANNELS
        wanted = [ctx.needs_input_grad[0], not by_products, False]
        stride = [ctx.stride, ctx.stride]
        at_input, at_weight, _ = torch.ops.aten.convolution_backward(
            gradient, x, weight, None, stride, [0, 0], [1, 1], False, [0, 0], 1, wanted
        )
        at_weight = weight_gradient(x, gradient, weight.shape[2], ctx.stride) if by_products else at_weight.float()
        return at_input, at_weight, gradient.permute(0, 2, 3, 1).reshape(-1, len(weight)).sum(0).float(), None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        short = weight.to(torch.bfloat16)
        with torch.autocast("cpu", enabled=False):
            y = functional.linear(x, short, bias.to(torch.bfloat16)).relu_()
        ctx.save_for_backward(x, short, y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight, y = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradients[0], y, 0)
        return gradient @ weight, (gradient.T @ x).float(), gradient.sum(0).float()


def weight_gradient(x: Tensor, gradient: Tensor, kernel: int, stride: int) -> Tensor:
    """Gradient of a convolution's weights as plain matrix products, one for each row of the kernel.

    Args:
        x: The layer's input, bfloat16 [batch, in, side, side], channels last in memory.
        gradient: At the layer's output, the same of its shape.
        kernel: Side of the kernel.
        stride: Of both directions.

    Returns:
        float32 [out, in, kernel, kernel].
    """
    batch, channels, side, _ = x.shape
    out, across = gradient.shape[1], gradient.shape[2]
    left, image = gradient.permute(0, 2, 3, 1).reshape(-1, out).T, x.permute(0, 2, 3, 1)
    shape = (batch, across, across, kernel * channels)
    strides = (side**2 * channels, stride * side * channels, stride * channels, 1)
    products = []
    for row in range(kernel):  # of the kernel: what a product reads was just written, and is still in the cache
        seen = image.as_strided(shape, strides, image.storage_offset() + row * side * channels)
        products.append(left @ seen.reshape(-1, shape[3]))
    whole = torch.cat(products, dim=1).float()
    return whole.view(out, kernel, kernel, channels).permute(0, 3, 1, 2)
