"""The copy of a network that passes use: autocast's values without autocast's work, or the kernels' values."""

from contextlib import closing

import numpy as np
import pytest
import torch
from torch import Tensor

from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.flat_gradients import by_parameter
from rlgns.agents.compute.forward_backward import NetworkPass
from rlgns.agents.compute.precision import autocast
from rlgns.agents.compute.team import Team
from rlgns.agents.config import NetworkConfig
from rlgns.agents.network import ActorCritic, build_network
from rlgns.agents.rollout import FrameStacks
from tests.agents.compute.test_convolutions import needs_kernels
from tests.agents.synthetic import random_rollouts

CPU = torch.device("cpu")
STACK, SIZE, STEPS, ENVS = 4, 32, 6, 4
OTHER, FIT = (8, 16), (16, 32)
"""Widths that the compiled kernels cannot compute, and widths that they can."""


def make_network(channels: tuple[int, ...] = OTHER) -> ActorCritic:
    """The hidden layer's weights are long enough to be cut between threads; the first layer reads blocks."""
    torch.manual_seed(0)
    config = NetworkConfig(channels=channels, kernels=(8, 4), strides=(4, 2), hidden=128)
    return build_network(config, num_actions=5, frame_stack=STACK, image_size=SIZE)


def make_stacks(block: int) -> FrameStacks:
    rollouts, _ = random_rollouts(0, steps=STEPS, envs=ENVS, stack=STACK, size=SIZE)
    return FrameStacks.of(rollouts, CPU, block)


def loss(outputs: NetworkPass) -> Tensor:
    return (outputs.logits.square().sum(-1) + outputs.values.square()).mean()


def gradient_of(copy: ComputeCopy, stacks: FrameStacks, where: Tensor) -> Tensor:
    row = torch.full((sum(parameter.numel() for parameter in copy.parameters),), float("nan"))
    outputs = copy.evaluate(stacks, where)
    outputs.differentiate(loss(outputs), [by_parameter(row, copy.parameters)], [len(where)])
    return row


def moved(network: ActorCritic) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.7).add_(0.1)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("block", [1, 4])
def test_gradients_are_those_of_autocast_bit_for_bit(precision: str, block: int) -> None:
    network, stacks, where = make_network(), make_stacks(block), torch.tensor([3, 17, 8, 0, 23])
    with autocast(CPU, precision):
        logits, values = network(stacks.gather(where))
    whole = (logits.square().sum(-1) + values.square()).mean()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(whole, list(network.parameters()))])
    copy = ComputeCopy(network, precision)
    assert not copy.takes_parts
    assert torch.equal(gradient_of(copy, stacks, where), expected)
    assert all(parameter.grad is None for parameter in network.parameters())


@needs_kernels
def test_the_kernels_gradients_are_nearly_those_of_autocast() -> None:
    network, where = make_network(FIT), torch.arange(24)
    copy, plain = ComputeCopy(network, "bfloat16"), ComputeCopy(network, "float32")
    assert copy.takes_parts
    assert not plain.takes_parts
    assert copy.block == 1
    exact = gradient_of(plain, make_stacks(plain.block), where)
    got = gradient_of(copy, make_stacks(1), where)
    with autocast(CPU, "bfloat16"):
        logits, values = network(make_stacks(1).gather(where))
    whole = (logits.square().sum(-1) + values.square()).mean()
    by_autocast = torch.cat([g.flatten() for g in torch.autograd.grad(whole, list(network.parameters()))])
    assert 0 < (got - exact).norm() < 1.2 * (by_autocast - exact).norm()


@needs_kernels
@pytest.mark.parametrize("sizes", [[24], [8, 8, 8], [5, 1, 18]])
def test_parts_of_one_pass_have_the_gradients_of_separate_passes(sizes: list[int]) -> None:
    network, stacks = make_network(FIT), make_stacks(1)
    copy, where = ComputeCopy(network, "bfloat16"), torch.from_numpy(np.random.default_rng(0).permutation(24))
    rows = torch.full((len(sizes), sum(p.numel() for p in copy.parameters)), float("nan"))
    outputs = copy.evaluate(stacks, where)
    outputs.differentiate(loss(outputs), [by_parameter(row, copy.parameters) for row in rows], sizes)
    for row, part in zip(rows, where.split(sizes), strict=True):
        alone = gradient_of(copy, stacks, part)
        assert (row - alone).norm() < 2e-3 * alone.norm()  # gradients of activations are rounded at another scale


@needs_kernels
def test_several_losses_of_one_evaluation_can_be_differentiated() -> None:
    network, stacks, where = make_network(FIT), make_stacks(1), torch.arange(12)
    copy = ComputeCopy(network, "bfloat16")
    rows = torch.empty(2, sum(p.numel() for p in copy.parameters))
    outputs = copy.evaluate(stacks, where)
    policy, value = outputs.logits.square().sum(-1).mean(), outputs.values.square().mean()
    for one, row, again in ((policy, rows[0], True), (value, rows[1], False)):
        outputs.differentiate(one, [by_parameter(row, copy.parameters)], [12], again=again)
    whole = gradient_of(copy, stacks, where)
    assert (rows.sum(0) - whole).norm() < 5e-3 * whole.norm()
    *_, policy_head, _, value_head, _ = by_parameter(rows[1], copy.parameters)
    assert policy_head.abs().max() == 0
    assert value_head.abs().max() > 0


@needs_kernels
def test_concurrent_passes_have_separate_memory_that_later_ones_reuse() -> None:
    network, stacks = make_network(FIT), make_stacks(1)
    copy = ComputeCopy(network, "bfloat16")
    batches = [torch.arange(12), torch.arange(12, 24)]
    alone = [gradient_of(copy, stacks, where) for where in batches]
    both = [copy.evaluate(stacks, where) for where in batches]
    places = {outputs._outputs.data_ptr() for outputs in both}
    assert len(places) == 2
    for outputs, where, expected in zip(both, batches, alone, strict=True):
        row = torch.empty_like(expected)
        outputs.differentiate(loss(outputs), [by_parameter(row, copy.parameters)], [len(where)])
        assert torch.equal(row, expected)
    del both, outputs
    for count in (12, 5, 12):  # a smaller batch does not shrink the spare memory
        later = copy.evaluate(stacks, torch.arange(count))
        assert later._outputs.data_ptr() in places
        del later


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("channels", [OTHER, FIT])
def test_the_copy_follows_the_master_only_once_refreshed(threads: int, channels: tuple[int, ...]) -> None:
    network, where = make_network(channels), torch.arange(2)
    copy = ComputeCopy(network, "bfloat16")
    stacks = make_stacks(copy.block)
    moved(network)
    with torch.no_grad():
        expected = ComputeCopy(network, "bfloat16").evaluate(stacks, where)
    assert not torch.equal(copy.evaluate(stacks, where).logits, expected.logits)
    with closing(Team(threads)) as team:
        copy.refresh(team)
    got = copy.evaluate(stacks, where)
    assert torch.equal(got.logits, expected.logits)
    assert torch.equal(got.values, expected.values)


def test_a_float32_copy_shares_every_weight() -> None:
    network, stacks, where = make_network(), make_stacks(4), torch.arange(2)
    copy = ComputeCopy(network, "float32")
    moved(network)
    logits, values = network(stacks.gather(where))
    got = copy.evaluate(stacks, where)
    assert torch.equal(got.logits, logits)
    assert torch.equal(got.values, values)


@pytest.mark.parametrize(
    ("channels", "precision", "tolerance"),
    # With fewer threads torch sums in another order, which rounds differently; the kernels do not.
    [(OTHER, "float32", 1e-3), pytest.param(FIT, "bfloat16", 1e-6, marks=needs_kernels)],
)
def test_threads_may_differentiate_one_copy_at_once(
    channels: tuple[int, ...], precision: str, tolerance: float
) -> None:
    copy = ComputeCopy(make_network(channels), precision)
    stacks, batches = make_stacks(copy.block), torch.arange(24).chunk(8)
    expected = [gradient_of(copy, stacks, batch) for batch in batches]
    with closing(Team(4)) as team:
        got = team.map(lambda batch: gradient_of(copy, stacks, batch), list(batches))
    for mine, theirs in zip(got, expected, strict=True):
        assert (mine - theirs).norm() <= tolerance * theirs.norm()
