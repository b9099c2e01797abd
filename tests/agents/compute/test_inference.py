"""The packed forward pass against the module's own."""

import pytest
import torch

from rlgns.agents.compute.inference import Player, can_pack
from rlgns.agents.compute.precision import autocast
from rlgns.agents.config import NetworkConfig
from rlgns.agents.network import ActorCritic, build_network
from tests.agents.test_network import observations

CPU = torch.device("cpu")


OTHER, FIT = (8, 16), (16, 32)
"""Widths that the compiled kernels cannot compute, and widths that they can."""


def make(channels: tuple[int, ...] = OTHER) -> ActorCritic:
    torch.manual_seed(0)
    shape = NetworkConfig(channels=channels, kernels=(8, 4), strides=(4, 2), hidden=32)
    network = build_network(shape, num_actions=6, frame_stack=4, image_size=36)
    with torch.no_grad():  # a policy with preferences, and biases that count
        network.policy_head.weight.mul_(100)
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.normal_(0, 0.3)
    return network


def test_this_torch_has_the_packed_operations() -> None:
    assert can_pack()  # otherwise the tests below compare the module with itself


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.02)])
@pytest.mark.parametrize("batch", [1, 3, 8, 40])
@pytest.mark.parametrize("channels", [OTHER, FIT])
def test_a_policy_is_the_network(precision: str, tolerance: float, batch: int, channels: tuple[int, ...]) -> None:
    network, images = make(channels), observations(batch, 4, 36)
    with torch.no_grad(), autocast(CPU, precision):
        logits, values = network(images)
    # The weights are packed for another batch size, which must not matter.
    with Player(network, precision, batch=8).playing() as policy:
        found_logits, found_values = policy(images)
    assert found_logits.dtype == found_values.dtype == torch.float32
    assert not found_logits.requires_grad
    scale = float(logits.abs().max())
    torch.testing.assert_close(found_logits, logits, rtol=0, atol=tolerance * scale)
    torch.testing.assert_close(found_values, values, rtol=0, atol=tolerance * scale)
    without_biases = make(channels)
    with torch.no_grad():
        for parameter in without_biases.parameters():
            if parameter.dim() == 1:
                parameter.zero_()
    with Player(without_biases, precision, batch=8).playing() as policy:
        wrong, _ = policy(images)
    assert (wrong - logits).abs().max() > 5 * tolerance * scale  # the tolerance would see a missing bias


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("channels", [OTHER, FIT])
def test_a_player_follows_the_network(precision: str, channels: tuple[int, ...]) -> None:
    network, images = make(channels), observations(8, 4, 36)
    player = Player(network, precision, batch=8)
    with player.playing() as policy:
        before = policy(images)
    for changed in network.parameters():
        with torch.no_grad():
            changed.mul_(1.5)
        with player.playing() as policy:
            found = policy(images)
        with Player(network, precision, batch=8).playing() as policy:
            expected = policy(images)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
        assert not torch.equal(
            torch.cat([found[0], found[1][:, None]], 1), torch.cat([before[0], before[1][:, None]], 1)
        )
        before = found


def test_without_the_packed_operations_the_module_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = make(), observations(3, 4, 36)
    monkeypatch.setattr("rlgns.agents.compute.inference.can_pack", lambda: False)
    with Player(network, "bfloat16", batch=3).playing() as policy:
        logits, values = policy(images)
    with torch.no_grad(), autocast(CPU, "bfloat16"):
        expected = network(images)
    assert torch.equal(logits, expected[0])
    assert torch.equal(values, expected[1])
