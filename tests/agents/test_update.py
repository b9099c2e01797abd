"""One iteration of PPO and A2C against a float64 twin."""

import copy
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch

from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.network import build_network
from rlgns.agents.update import Updater
from tests.agents.synthetic import ACTIONS, NETWORK, SIZE, STACK, small_network
from tests.agents.training import (
    A2C,
    GROUPS,
    PPO,
    SEED,
    assert_same_training,
    batches_of,
    flat,
    rollouts_of,
    train,
)
from tests.reference.agents import SlowRecord, slow_update


@pytest.mark.parametrize(
    "config",
    [
        PPO,
        replace(PPO, clip_value=False, normalise_advantages=False, optimizer="rmsprop", max_grad_norm=1e3),
        replace(PPO, gamma=0.9, gae_lambda=0.5, epochs=3, minibatches=4),
        A2C,
        replace(A2C, optimizer="adam", normalise_advantages=True),
    ],
    ids=["ppo", "ppo-rmsprop", "ppo-3-epochs", "a2c", "a2c-adam"],
)
def test_one_iteration_is_that_of_the_slow_twin(config: AgentConfig) -> None:
    network, stats = train(config, on_groups=lambda gradients, split: None)
    rollouts, observations = rollouts_of(0)
    twin = small_network().double()
    batches = batches_of(config)[1]
    expected = slow_update(twin, SlowRecord(rollouts, observations, config), batches, config.learning_rate)
    assert_same_training(twin, network, 1e-4)
    assert stats.metrics["loss/policy"] == pytest.approx(expected["policy"], rel=1e-3, abs=1e-4)
    assert stats.metrics["loss/value"] == pytest.approx(expected["value"], rel=1e-4)
    assert stats.metrics["entropy"] == pytest.approx(expected["entropy"], rel=1e-4)
    assert stats.metrics["approx_kl"] == pytest.approx(expected["approx_kl"], rel=1e-3)
    assert stats.metrics["clip_fraction"] == pytest.approx(expected["clip_fraction"], abs=1e-6)
    assert stats.metrics["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-3)
    assert stats.optimizer_steps == len(batches) == config.epochs * config.minibatches


def test_the_twin_sees_a_wrong_setting() -> None:
    """The comparison has power: settings that differ a little give weights that differ by far more."""
    network, _ = train(PPO)
    for wrong in (
        replace(PPO, clip=0.21),
        replace(PPO, gae_lambda=0.94),
        replace(PPO, max_grad_norm=0.6),
        replace(PPO, entropy_coefficient=0.02),
        replace(PPO, optimizer_epsilon=1e-3),
    ):
        with pytest.raises(AssertionError):
            assert_same_training(train(wrong)[0], network, 1e-3)


@pytest.mark.parametrize("config", [PPO, A2C], ids=["ppo", "a2c"])
def test_measuring_and_threads_change_training_by_rounding_alone(config: AgentConfig) -> None:
    plain, _ = train(config)
    for team, on_groups in ((1, True), (2, False), (3, True)):
        other, _ = train(config, team=team, on_groups=(lambda gradients, split: None) if on_groups else None)
        assert_same_training(plain, other, 1e-4)


def test_the_same_seed_gives_the_same_weights_and_another_gives_others() -> None:
    first, again, other = train(PPO)[0], train(PPO)[0], train(PPO, seed=(3, 2))[0]
    assert torch.equal(flat(first), flat(again))
    with pytest.raises(AssertionError):
        assert_same_training(first, other, 1e-3)


def test_rollouts_are_not_changed() -> None:
    rollouts, _ = rollouts_of(0)
    before = copy.deepcopy(rollouts[:1])
    updater = Updater(small_network(), PPO, groups=GROUPS, precision="float32")
    updater.update(rollouts[:1], learning_rate=1e-3, seed=SEED)
    for name in before[0].__slots__:
        np.testing.assert_array_equal(getattr(rollouts[0], name), getattr(before[0], name))


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
@pytest.mark.parametrize("team", [1, 3])
def test_after_its_steps_the_copy_has_the_weights_of_the_network(optimizer: str, team: int) -> None:
    torch.manual_seed(0)
    wide = replace(NETWORK, hidden=4096)  # vectors that are cut between threads
    network = build_network(wide, num_actions=ACTIONS, frame_stack=STACK, image_size=SIZE)
    before = flat(network)
    with closing(Team(team)) as workers:
        config = replace(PPO, optimizer=optimizer)
        updater = Updater(network, config, groups=GROUPS, precision="bfloat16", team=workers)
        updater.update(rollouts_of(0)[0], learning_rate=1e-3, seed=SEED)
    assert not torch.equal(flat(network), before)
    for mine, master in zip(updater._copy.parameters, network.parameters(), strict=True):
        assert torch.equal(mine, master.to(mine.dtype))


def test_learning_rate_is_that_of_the_call() -> None:
    network = small_network()
    updater = Updater(network, PPO, groups=GROUPS, precision="float32")
    before = flat(network)
    updater.update(rollouts_of(0)[0], learning_rate=0.0, seed=SEED)
    assert torch.equal(flat(network), before)
    assert [group["lr"] for group in updater.optimizer.param_groups] == [0.0]
