"""Shapes, initialisation and arithmetic of the network."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rlgns.agents.compute.precision import autocast
from rlgns.agents.config import NetworkConfig
from rlgns.agents.network import block_of, build_network
from tests.agents.synthetic import ACTIONS, SIZE, STACK, small_network


def observations(count: int, stack: int, size: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (count, stack, size, size), dtype=np.uint8))


def test_the_default_is_the_nature_network() -> None:
    network = build_network(NetworkConfig(), num_actions=6, frame_stack=4, image_size=84)
    convolutions = 32 * (4 * 8 * 8 + 1) + 64 * (32 * 4 * 4 + 1) + 64 * (64 * 3 * 3 + 1)
    linear = 512 * (64 * 7 * 7 + 1) + 6 * (512 + 1) + 1 * (512 + 1)
    assert network.parameter_count == convolutions + linear == 1_687_719
    logits, values = network(observations(2, 4, 84))
    assert logits.shape == (2, 6) and values.shape == (2,)


def test_weights_are_orthogonal_with_the_gains_of_baselines() -> None:
    torch.manual_seed(0)
    network = build_network(
        NetworkConfig(channels=(8, 16), kernels=(8, 4), strides=(4, 2), hidden=32),
        num_actions=6,
        frame_stack=4,
        image_size=36,
    )
    body = [layer for layer in network.body if isinstance(layer, nn.Conv2d | nn.Linear)]
    layers = [(layer, math.sqrt(2)) for layer in body] + [(network.policy_head, 0.01), (network.value_head, 1.0)]
    assert len(layers) == 5
    for layer, gain in layers:
        rows = layer.weight.detach().double().flatten(1)
        gram = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
        torch.testing.assert_close(gram, gain**2 * torch.eye(len(gram), dtype=torch.float64), rtol=0, atol=1e-5 * gain)
        assert layer.bias is not None and (layer.bias == 0).all()


def test_a_fresh_policy_is_nearly_uniform() -> None:
    torch.manual_seed(0)
    network = build_network(NetworkConfig(), num_actions=6, frame_stack=4, image_size=84)
    probabilities = torch.softmax(network(observations(4, 4, 84))[0], -1)
    assert (probabilities - 1 / 6).abs().max() < 0.02


def test_forward_is_the_formula_on_pixels_between_zero_and_one() -> None:
    network = small_network().double()
    batch = observations(3, STACK, SIZE)
    weights = list(network.parameters())
    hidden = F.relu(F.conv2d(batch.double() / 255, weights[0], weights[1], stride=3)).flatten(1)
    hidden = F.relu(hidden @ weights[2].T + weights[3])
    logits, values = network(batch)
    torch.testing.assert_close(logits, hidden @ weights[4].T + weights[5])
    torch.testing.assert_close(values, (hidden @ weights[6].T + weights[7])[:, 0])
    assert logits.shape == (3, ACTIONS) and batch.dtype == torch.uint8


def test_heads_are_float32_under_autocast() -> None:
    network, batch = small_network(), observations(5, STACK, SIZE)
    seen: list[torch.Tensor] = []
    hook = network.body[-1].register_forward_hook(lambda _, __, output: seen.append(output))
    with autocast(torch.device("cpu"), "bfloat16"):
        logits, values = network(batch)
    hook.remove()
    (hidden,) = seen
    assert hidden.dtype == torch.bfloat16
    assert logits.dtype == values.dtype == torch.float32
    torch.testing.assert_close(logits, network.policy_head(hidden.float()), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(values, network.value_head(hidden.float())[:, 0], rtol=1e-6, atol=1e-6)
    exact = network(batch)[0]
    assert not torch.equal(exact, logits)
    assert (exact - logits).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize(("kernel", "stride", "size"), [(8, 4, 84), (4, 2, 20), (4, 4, 16)])
def test_images_in_blocks_give_the_same_outputs_and_gradients(kernel: int, stride: int, size: int) -> None:
    torch.manual_seed(0)
    shape = NetworkConfig(channels=(8, 6), kernels=(kernel, 2), strides=(stride, 1), hidden=9)
    network = build_network(shape, num_actions=5, frame_stack=3, image_size=size).double()
    assert network.block == stride
    batch = observations(4, 3, size)
    split = batch.view(4, 3, size // stride, stride, size // stride, stride).permute(0, 1, 3, 5, 2, 4)
    in_blocks = split.reshape(4, 3 * stride**2, size // stride, size // stride)
    found = []
    for images in (batch, in_blocks):
        network.zero_grad()
        logits, values = network(images)
        (logits.square().sum() + values.sum()).backward()
        found.append([logits, values, *(parameter.grad for parameter in network.parameters())])
    for plain, blocked in zip(*found, strict=True):
        torch.testing.assert_close(blocked, plain, rtol=1e-10, atol=1e-10)


def test_only_whole_blocks_of_one_words_size_are_used() -> None:
    assert block_of(8, 4, 84) == 4  # the Nature network
    assert block_of(6, 3, 63) == 1  # 9 bytes are no word
    assert block_of(8, 4, 82) == block_of(6, 4, 84) == 1  # a rest would be left over
    assert block_of(3, 1, 84) == 1


def test_an_image_too_small_for_the_convolutions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"env.image_size 20 is too small .* 1 pixels are left before a kernel of 3"):
        build_network(NetworkConfig(), num_actions=6, frame_stack=4, image_size=20)
