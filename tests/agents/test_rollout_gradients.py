"""Gradients by loss over a rollout, and that computing them does not change training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rlgns.agents.config import AgentConfig
from rlgns.agents.rollout_gradients import LOSSES, BeforeSteps, RolloutGradients
from rlgns.agents.update import Updater
from tests.agents.synthetic import random_rollouts, small_network
from tests.agents.training import A2C, GROUPS, PPO, SEED, STEPS, rollouts_of
from tests.reference.agents import SlowRecord, slow_second_moments


def train(config: AgentConfig, before_steps: BeforeSteps | None, *, updates: int = 1) -> Updater:
    updater = Updater(small_network(), config, groups=GROUPS, precision="float32", on_groups=lambda *_: None)
    for number in range(updates):
        updater.update(rollouts_of(number)[0], learning_rate=1e-3, seed=(*SEED, number), before_steps=before_steps)
    return updater


@pytest.mark.parametrize("config", [PPO, A2C, replace(PPO, clip_value=False)], ids=["ppo", "a2c", "free-value"])
def test_each_loss_has_the_gradient_of_separate_backward_passes(config: AgentConfig) -> None:
    rollouts, observations = rollouts_of(0)
    record, twin = SlowRecord(rollouts, observations, config), small_network().double()
    indices = np.array([0, 9, 3, 22])
    seen: list[tuple[torch.Tensor, tuple[float, ...]]] = []
    train(config, lambda taken: seen.append((taken.loss_gradients(indices), taken.coefficients)))
    ((rows, coefficients),) = seen  # once, before the first step
    for row, name in zip(rows, LOSSES, strict=True):
        expected = record.gradients(twin, indices, name).mean(axis=0)
        assert np.abs(expected).max() > 1e-4
        np.testing.assert_allclose(row, expected, rtol=1e-3, atol=1e-5, err_msg=name)
    whole = record.gradients(twin, indices).mean(axis=0)
    np.testing.assert_allclose(torch.tensor(coefficients) @ rows, whole, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("config", [PPO, A2C], ids=["ppo", "a2c"])
def test_training_is_the_same_bit_for_bit(config: AgentConfig) -> None:
    def look(taken: RolloutGradients) -> None:
        state = torch.get_rng_state()
        rows = taken.map(taken.loss_gradients, [np.arange(8), np.arange(8, 24)])
        taken.inverse_preconditioner()
        assert len(rows) == 2
        assert torch.equal(torch.get_rng_state(), state)

    plain, looked = train(config, None, updates=2), train(config, look, updates=2)
    for mine, theirs in zip(*(u.optimizer.param_groups[0]["params"] for u in (plain, looked)), strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(*(u.optimizer.state.values() for u in (plain, looked)), strict=True):
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize(("optimizer", "decay"), [("adam", 0.999), ("rmsprop", 0.99)])
def test_the_preconditioner_is_that_of_the_steps_before(optimizer: str, decay: float) -> None:
    config = replace(PPO, optimizer=optimizer, epochs=1, minibatches=1, max_grad_norm=1e9, optimizer_epsilon=1e-4)
    seen: list[torch.Tensor | None] = []
    gradients: list[np.ndarray] = []
    updater = Updater(
        small_network(),
        config,
        groups=1,
        precision="float32",
        on_groups=lambda rows, split: gradients.append(rows[0].double().numpy().copy()),
    )
    for number in range(3):
        updater.update(
            rollouts_of(number)[0],
            learning_rate=1e-3,
            seed=(number,),
            before_steps=lambda taken: seen.append(taken.inverse_preconditioner()),
        )
    assert seen[0] is None
    for steps in (1, 2):
        second = slow_second_moments(gradients[:steps], decay)
        second = second / (1 - decay**steps) if optimizer == "adam" else second
        found = seen[steps]
        assert found is not None
        np.testing.assert_allclose(found, 1 / (np.sqrt(second) + 1e-4), rtol=1e-4)


def test_the_preconditioner_is_written_to_the_given_memory() -> None:
    seen: list[torch.Tensor | None] = []
    network = small_network()
    updater = Updater(network, PPO, groups=1, precision="float32")
    room = torch.empty(network.parameter_count)
    for number in range(2):
        updater.update(
            rollouts_of(number)[0],
            learning_rate=1e-3,
            seed=(number,),
            before_steps=lambda taken: seen.extend(
                [taken.inverse_preconditioner(), taken.inverse_preconditioner(room)]
            ),
        )
    assert seen[:2] == [None, None]
    new, there = seen[2:]
    assert there is room
    assert new is not None and new is not room and torch.equal(new, room)


def test_losses_that_do_not_reach_a_head_have_zero_gradients_there() -> None:
    rollouts, _ = random_rollouts(3, steps=STEPS, envs=4)
    seen: list[torch.Tensor] = []
    network = small_network()
    updater = Updater(network, PPO, groups=GROUPS, precision="float32")
    updater.update(
        rollouts,
        learning_rate=0.0,
        seed=SEED,
        before_steps=lambda taken: seen.append(taken.loss_gradients(np.arange(12))),
    )
    sizes = {name: sum(p.numel() for p in parameters) for name, parameters in network.layers().items()}
    by_layer = dict(zip(sizes, seen[0].split(list(sizes.values()), dim=1), strict=True))
    policy, value, entropy = range(3)
    assert by_layer["value_head"][[policy, entropy]].abs().max() == 0
    assert by_layer["policy_head"][value].abs().max() == 0
    assert all(by_layer["conv1"][loss].abs().max() > 0 for loss in range(3))


def test_layers_follow_the_order_of_the_parameters() -> None:
    network = small_network()
    listed = [p for parameters in network.layers().values() for p in parameters]
    assert [id(p) for p in listed] == [id(p) for p in network.parameters()]
