"""Layers with backward passes of our own against torch's, both measured by what float64 says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from agents.passes import LEAST_CHANNELS, connect, convolve, weight_gradient

Layer = Callable[..., Tensor]


def gradients(layer: Layer, inputs: list[Tensor], upstream: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Output and gradients of all inputs; the first, the layer's input, is rounded to bfloat16 in any case."""
    x, *parameters = inputs
    leaves = [
        x.bfloat16().to(dtype).requires_grad_(),
        *(parameter.clone().requires_grad_() for parameter in parameters),
    ]
    if dtype == torch.float64:
        leaves = [leaf.detach().bfloat16().double().requires_grad_() for leaf in leaves]
    y = layer(*leaves)
    found = torch.autograd.grad(y, leaves, upstream.bfloat16().to(y.dtype))
    return [y.detach(), *found]


def errors(found: list[Tensor], truth: list[Tensor]) -> list[float]:
    return [float((one.double() - other).norm() / other.norm()) for one, other in zip(found, truth, strict=True)]


@pytest.mark.parametrize(
    ("channels", "side", "out", "kernel", "stride"),
    [
        (4, 21, 8, 6, 3),
        (32, 20, LEAST_CHANNELS, 4, 2),
        (64, 9, LEAST_CHANNELS, 3, 1),
        (16, 7, LEAST_CHANNELS + 3, 2, 3),
    ],
)
def test_convolution_is_as_exact_as_torchs(channels: int, side: int, out: int, kernel: int, stride: int) -> None:
    draw = torch.Generator().manual_seed(0)
    shapes = [(6, channels, side, side), (out, channels, kernel, kernel), (out,)]
    inputs = [torch.randn(shape, generator=draw) for shape in shapes]
    across = (side - kernel) // stride + 1
    upstream = torch.randn(6, out, across, across, generator=draw)

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.relu(functional.conv2d(x, weight, bias, stride))

    truth = gradients(plain, inputs, upstream, torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torchs = gradients(plain, inputs, upstream, torch.bfloat16)
        ours = gradients(lambda *leaves: convolve(*leaves, stride), inputs, upstream, torch.bfloat16)
    for mine, theirs in zip(errors(ours, truth), errors(torchs, truth), strict=True):
        assert mine < 1.5 * theirs + 1e-3 < 0.05


def test_linear_is_as_exact_as_torchs() -> None:
    draw = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=draw) for shape in [(6, 40), (16, 40), (16,)]]
    upstream = torch.randn(6, 16, generator=draw)

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return functional.relu(functional.linear(x, weight, bias))

    truth = gradients(plain, inputs, upstream, torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torchs = gradients(plain, inputs, upstream, torch.bfloat16)
        ours = gradients(connect, inputs, upstream, torch.bfloat16)
    for mine, theirs in zip(errors(ours, truth), errors(torchs, truth), strict=True):
        assert mine < 1.5 * theirs + 1e-3 < 0.05


def test_weight_gradient_of_a_part_of_a_batch() -> None:
    """A view into a larger tensor does not begin where its memory does."""
    draw = torch.Generator().manual_seed(0)
    whole = torch.randn(5, 3, 8, 8, generator=draw).bfloat16().contiguous(memory_format=torch.channels_last)
    x, gradient = whole[2:], torch.randn(3, 4, 6, 6, generator=draw).bfloat16()
    expected = torch.nn.grad.conv2d_weight(x.double(), (4, 3, 3, 3), gradient.double())
    found = weight_gradient(x, gradient.contiguous(memory_format=torch.channels_last), 3, 1)
    assert float((found - expected).norm() / expected.norm()) < 0.005


def test_parameters_keep_float32_gradients_and_the_graph_can_be_used_twice() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 9, 9, generator=draw).bfloat16()
    weight, bias = (torch.randn(shape, generator=draw).requires_grad_() for shape in [(64, 4, 3, 3), (64,)])
    loss = convolve(x, weight, bias, 2).sum()
    first = torch.autograd.grad(loss, [weight, bias], retain_graph=True)
    second = torch.autograd.grad(loss, [weight, bias])
    for one, other in zip(first, second, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
