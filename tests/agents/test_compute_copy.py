"""The copy of a network that passes compute with: autocast's values without autocast's work."""

from contextlib import closing

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.compute_copy import ComputeCopy
from agents.config import NetworkConfig
from agents.network import ActorCritic
from agents.precision import autocast
from agents.team import Team

CPU = torch.device("cpu")


def make_network() -> ActorCritic:
    """Has a vector that is cut between threads, the hidden layer's weights, and a first layer that reads blocks."""
    torch.manual_seed(0)
    config = NetworkConfig(channels=(8, 16), kernels=(8, 4), strides=(4, 2), hidden=128)
    return ActorCritic(config, num_actions=5, frame_stack=3, image_size=32)


def images(count: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8))


def in_blocks(batch: Tensor) -> Tensor:
    """The same images in blocks of 4 x 4 pixels."""
    return batch.view(len(batch), 3, 8, 4, 8, 4).permute(0, 1, 3, 5, 2, 4).reshape(len(batch), 48, 8, 8)


def loss(outputs: tuple[Tensor, Tensor]) -> Tensor:
    logits, values = outputs
    return (logits.square().sum(-1) + values.square()).mean()


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("blocks", [False, True])
def test_gradients_are_those_of_autocast_bit_for_bit(precision: str, blocks: bool) -> None:
    network, batch = make_network(), images(6)
    batch = in_blocks(batch) if blocks else batch
    with autocast(CPU, precision):
        outputs = network(batch)
    expected = torch.autograd.grad(loss(outputs), list(network.parameters()))
    copy = ComputeCopy(network, precision)
    got = copy.gradients(loss(copy.network(batch)))
    for mine, theirs in zip(got, expected, strict=True):
        assert torch.equal(mine.float(), theirs)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("threads", [1, 3])
def test_refreshed_it_follows_the_master_and_before_it_does_not(threads: int) -> None:
    network, batch = make_network(), images(2)
    copy = ComputeCopy(network, "bfloat16")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.7).add_(0.1)
    with autocast(CPU, "bfloat16"):
        expected = network(batch)
    assert not torch.equal(copy.network(batch)[0], expected[0])
    with closing(Team(threads)) as team:
        copy.refresh(team)
    for mine, theirs in zip(copy.network(batch), expected, strict=True):
        assert torch.equal(mine, theirs)


def test_in_float32_it_shares_every_weight() -> None:
    network, batch = make_network(), images(2)
    copy = ComputeCopy(network, "float32")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.7).add_(0.1)
    for mine, theirs in zip(copy.network(batch), network(batch), strict=True):
        assert torch.equal(mine, theirs)


def test_threads_may_differentiate_one_copy_at_once() -> None:
    network, batches = make_network(), images(64).chunk(8)
    copy = ComputeCopy(network, "float32")  # in which sums in another order, by fewer threads, are nearly the same
    expected = [copy.gradients(loss(copy.network(batch))) for batch in batches]
    with closing(Team(4)) as team:
        got = team.map(lambda batch: copy.gradients(loss(copy.network(batch))), batches)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)
