"""A body that is no chain of layers: the faster paths leave it to torch, and it trains."""

from contextlib import closing

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.convolutions import NativeConvolutions
from rlgns.agents.compute.flat_gradients import by_parameter
from rlgns.agents.compute.inference import Player
from rlgns.agents.compute.precision import autocast
from rlgns.agents.compute.team import Team
from rlgns.agents.network import ActorCritic, Body
from rlgns.agents.rollout import FrameStacks
from rlgns.agents.update import Updater
from tests.agents.synthetic import ACTIONS, SIZE, STACK
from tests.agents.training import GROUPS, PPO, SEED, flat, rollouts_of

CPU = torch.device("cpu")


class Residual(Body):
    """A layer and a shortcut around another."""

    features, activations = 12, 24

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(STACK * SIZE**2, 12)
        self.second = nn.Linear(12, 12)

    def forward(self, observations: Tensor) -> Tensor:
        x = torch.relu(self.first(observations.flatten(1).to(self.first.weight.dtype) / 255))
        return x + torch.relu(self.second(x))


def make_network() -> ActorCritic:
    torch.manual_seed(0)
    return ActorCritic(Residual(), num_actions=ACTIONS, frame_stack=STACK, image_size=SIZE)


def test_layers_are_the_bodys_children_and_the_heads() -> None:
    network = make_network()
    assert list(network.layers()) == ["first", "second", "policy_head", "value_head"]
    assert sum(p.numel() for layer in network.layers().values() for p in layer) == network.parameter_count
    assert network.chain is None
    assert network.block == 1
    assert not NativeConvolutions.fit(network)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_copy_and_player_compute_what_the_module_does(precision: str) -> None:
    network, (rollouts, observations) = make_network(), rollouts_of(0)
    images = torch.from_numpy(np.concatenate(observations, axis=1).reshape(-1, STACK, SIZE, SIZE))
    with autocast(CPU, precision):
        logits, values = network(images)
    loss = (logits.square().sum(-1) + values.square()).mean()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()))])
    copy = ComputeCopy(network, precision)
    outputs = copy.evaluate(FrameStacks.of(rollouts, CPU, copy.block), torch.arange(len(images)))
    row = torch.empty_like(expected)
    mean = (outputs.logits.square().sum(-1) + outputs.values.square()).mean()
    outputs.differentiate(mean, [by_parameter(row, copy.parameters)], [len(images)])
    assert torch.equal(row, expected)
    with Player(network, precision, batch=8).playing() as policy:
        played = policy(images)
    assert torch.equal(played[0], logits)
    assert torch.equal(played[1], values)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_it_trains(precision: str) -> None:
    network = make_network()
    before = flat(network)
    with closing(Team(2)) as team:
        updater = Updater(network, PPO, groups=GROUPS, precision=precision, on_groups=lambda *_: None, team=team)
        stats = updater.update(rollouts_of(0)[0], learning_rate=1e-3, seed=SEED)
    assert np.isfinite(list(stats.metrics.values())).all()
    assert not torch.equal(flat(network), before)
