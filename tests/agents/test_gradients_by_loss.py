"""Batches that are also split by loss, against separate backward passes of a float64 twin."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rlgns.agents.batch_gradients import GroupSplit
from rlgns.agents.batches import environment_batches
from rlgns.agents.compute import native
from rlgns.agents.compute.team import Team
from rlgns.agents.config import NetworkConfig
from rlgns.agents.network import ActorCritic, build_network
from rlgns.agents.rollout_gradients import RolloutGradients
from rlgns.agents.update import Updater
from tests.agents.synthetic import near_policy, random_rollouts, small_network
from tests.agents.training import GROUPS, PPO, SEED, STEPS, batches_of, flat, rollouts_of
from tests.reference.agents import SlowRecord

STEP = 1
"""The second batch: its parameters are not those that played."""


def split(step: int | None, *, team: int = 1, precision: str = "float32") -> tuple[ActorCritic, list, list]:
    """Trains an iteration; returns the network, products by loss and [groups, groups] of the whole loss."""
    network, workers = small_network(), Team(team)
    by_loss: list[tuple[Tensor, GroupSplit]] = []
    whole: list[tuple[Tensor, GroupSplit]] = []
    updater = Updater(
        network,
        PPO,
        groups=GROUPS,
        precision=precision,
        on_products=lambda *two: whole.append(two),
        on_losses=lambda *two: by_loss.append(two),
        team=workers,
    )
    updater.update(rollouts_of(0)[0], learning_rate=PPO.learning_rate, seed=SEED, step_by_loss=step)
    workers.close()
    return network, by_loss, whole


def slow_products(step: int) -> np.ndarray:
    """[2, 2, groups, groups] of a batch: two backward passes per observation, all groups at one parameter vector."""
    rollouts, observations = rollouts_of(0)
    record = SlowRecord(rollouts, observations, PPO)
    trained, parameters = small_network(), []
    updater = Updater(
        trained,
        PPO,
        groups=GROUPS,
        precision="float32",
        on_groups=lambda *_: parameters.append(flat(trained).clone()),
    )
    updater.update(rollouts, learning_rate=PPO.learning_rate, seed=SEED)
    twin = small_network().double()
    torch.nn.utils.vector_to_parameters(parameters[step], twin.parameters())
    gradients: list[list[np.ndarray]] = [[], []]
    for group in batches_of(PPO)[0][step]:
        policy, entropy, value = (
            record.gradients(twin, group, part).mean(axis=0) for part in ("policy", "entropy", "value")
        )
        gradients[0].append(policy - PPO.entropy_coefficient * entropy)
        gradients[1].append(PPO.value_coefficient * value)
    rows = np.array(gradients)
    return np.einsum("ljx,mkx->lmjk", rows, rows)


@pytest.mark.parametrize("team", [1, 2])
@pytest.mark.parametrize("step", [0, STEP])
def test_products_are_those_of_two_separate_backward_passes(step: int, team: int) -> None:
    _, by_loss, whole = split(step, team=team)
    ((products, seen),) = by_loss
    assert seen == GroupSplit(observations_per_group=2 * STEPS, shuffled=False, step=step)
    expected = slow_products(step)
    tolerance = 2e-3 * np.abs(expected).max(axis=(2, 3), keepdims=True)
    assert (np.abs(products.numpy() - expected) <= tolerance).all()
    torch.testing.assert_close(products.sum((0, 1)), whole[step][0], rtol=1e-4, atol=1e-6)  # g = p + v
    other = slow_products(STEP - step)
    assert not (np.abs(products.numpy() - other) <= tolerance).all()  # power: another batch, other parameters


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("team", [1, 2])
def test_training_and_the_measurement_are_the_same_bit_for_bit(team: int, precision: str) -> None:
    plain, none, expected = split(None, team=team, precision=precision)
    network, some, found = split(STEP, team=team, precision=precision)
    assert (len(none), len(some)) == (0, 1)
    assert torch.equal(flat(plain), flat(network))
    for (one, _), (other, _) in zip(expected, found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.skipif(native.library() is None, reason="needs the compiled kernels")
def test_the_compiled_kernels_split_a_batch_too() -> None:
    """Against the probe's passes, which differentiate each loss apart; within the rounding of bfloat16."""
    config = NetworkConfig(channels=(16, 16), kernels=(4, 3), strides=(2, 1), hidden=32)
    torch.manual_seed(0)
    network = build_network(config, num_actions=4, frame_stack=2, image_size=16)
    rollouts, observations = random_rollouts(0, steps=8, envs=8, stack=2, size=16, actions=4)
    near_policy(rollouts, observations, network, seed=0)
    groups = next(environment_batches(np.random.default_rng([7]), num_steps=8, num_envs=8, minibatches=2, groups=4))
    seen: list[Tensor] = []
    probed: list[Tensor] = []

    def measure(fresh: RolloutGradients) -> None:
        weights = torch.tensor(fresh.coefficients)[:, None]
        rows = torch.stack([fresh.loss_gradients(group) * weights for group in groups])  # [groups, losses, parameters]
        by_loss = torch.stack([rows[:, 0] + rows[:, 2], rows[:, 1]]).double()
        probed.append(torch.einsum("ljx,mkx->lmjk", by_loss, by_loss))

    updater = Updater(
        network,
        PPO,
        groups=4,
        precision="bfloat16",
        on_products=lambda products, split: None,
        on_losses=lambda products, split: seen.append(products),
    )
    assert updater._copy.takes_parts  # the kernels run
    updater.update(rollouts, learning_rate=0.0, seed=(7,), step_by_loss=0, before_steps=measure)
    ((found,), (expected,)) = seen, probed
    tolerance = 0.02 * expected.abs().amax((2, 3), keepdim=True)
    assert ((found - expected).abs() <= tolerance).all()
