"""One pass for all parts of a batch, against a pass of the module for each."""

import pytest
import torch
from torch import Tensor

from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.flat_gradients import FlatGradients
from rlgns.agents.compute.forward_backward import NetworkPass
from rlgns.agents.config import NetworkConfig
from rlgns.agents.network import build_network, from_blocks, in_blocks
from rlgns.agents.rollout import FrameStacks
from tests.agents.synthetic import random_rollouts

STACK, SIZE, STEPS, ENVS = 4, 36, 6, 4
BATCH = STEPS * ENVS
PARTS = [(24,), (6, 6, 6, 6), (10, 3, 11)]


def loss(outputs: NetworkPass, targets: Tensor) -> Tensor:
    both = torch.cat([outputs.logits, outputs.values[:, None]], 1)
    return (both - targets).square().sum(1).mean()


def rows_of(precision: str, sizes: tuple[int, ...], *, in_one_pass: bool, kernels: tuple[int, int] = (8, 3)) -> Tensor:
    """Gradients [parts, parameters], the whole loss's and then twice another's, by one copy of the network."""
    torch.manual_seed(0)
    config = NetworkConfig(channels=(16, 8), kernels=kernels, strides=(4, 1), hidden=24)
    network = build_network(config, num_actions=3, frame_stack=STACK, image_size=SIZE)
    copy = ComputeCopy(network, precision, in_one_pass=in_one_pass)
    flat, targets = FlatGradients(network, rows=len(sizes)), torch.randn(BATCH, 4)
    rollouts, _ = random_rollouts(0, steps=STEPS, envs=ENVS, stack=STACK, size=SIZE)
    stacks = FrameStacks.of(rollouts, torch.device("cpu"), copy.block)
    where, found = torch.randperm(BATCH).split(list(sizes)), []
    groups = [tuple(range(len(sizes)))] if in_one_pass else [(part,) for part in range(len(sizes))]
    assert copy.takes_parts == in_one_pass
    for scale in (1.0, -3.0):
        for group in groups:
            mine = torch.cat([where[part] for part in group])
            outputs = copy.evaluate(stacks, mine)
            here = torch.cat([targets.split(list(sizes))[part] for part in group])
            rows, lengths = [flat.views[part] for part in group], [sizes[part] for part in group]
            outputs.differentiate(loss(outputs, here), rows, lengths, again=True)
            if scale < 0:
                outputs.differentiate(scale * outputs.values.mean(), rows, lengths)
        found.append(flat.rows.clone())
    return torch.stack(found)


@pytest.mark.parametrize("sizes", PARTS)
@pytest.mark.parametrize("kernels", [(8, 3), (6, 3)])  # in blocks, and not
def test_it_is_a_pass_for_each_part(sizes: tuple[int, ...], kernels: tuple[int, int]) -> None:
    together = rows_of("float32", sizes, in_one_pass=True, kernels=kernels)
    apart = rows_of("float32", sizes, in_one_pass=False, kernels=kernels)
    assert (together - apart).norm() < 1e-6 * apart.norm()
    assert (apart[:, 0] - apart[:, -1]).norm() > 0.1 * apart.norm() or len(sizes) == 1  # power: parts differ


def test_bfloat16_differs_by_its_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlgns.agents.compute.compute_copy.NativeConvolutions.fit", lambda network: False)
    together = rows_of("bfloat16", (6, 6, 6, 6), in_one_pass=True)
    apart = rows_of("bfloat16", (6, 6, 6, 6), in_one_pass=False)
    exact = rows_of("float32", (6, 6, 6, 6), in_one_pass=False)
    error = (apart - exact).norm()
    assert 0 < error < 0.02 * exact.norm()
    assert (together - exact).norm() < 1.5 * error


def test_blocks_and_back() -> None:
    weights = torch.randn(3, 5, 4, 8, 8)
    assert torch.equal(from_blocks(torch.stack([in_blocks(weight, 4) for weight in weights]), 4), weights)
