"""Gradients of groups, as listeners get them, against a float64 twin."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from rlgns.agents.batch_gradients import GroupSplit
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.update import Updater
from tests.agents.synthetic import small_network
from tests.agents.training import (
    A2C,
    GROUPS,
    PPO,
    SEED,
    STEPS,
    assert_same_training,
    batches_of,
    flat,
    rollouts_of,
    train,
)
from tests.reference.agents import SlowRecord


def record_groups(
    config: AgentConfig, *, team: int = 1, split_shuffled: bool = False
) -> list[tuple[Tensor, GroupSplit]]:
    seen: list[tuple[Tensor, GroupSplit]] = []
    train(
        config,
        team=team,
        split_shuffled=split_shuffled,
        on_groups=lambda gradients, split: seen.append((gradients.clone(), split)),
    )
    return seen


@pytest.mark.parametrize("team", [1, 2])
def test_listener_gets_gradients_of_whole_environments_before_clipping(team: int) -> None:
    config = replace(PPO, max_grad_norm=1e-4)
    seen = record_groups(config, team=team)
    rollouts, observations = rollouts_of(0)
    record, first = SlowRecord(rollouts, observations, config), batches_of(config)[0]
    assert len(seen) == config.minibatches  # the first epoch's batches, no others
    splits = [GroupSplit(observations_per_group=2 * STEPS, shuffled=False, step=step) for step in range(len(seen))]
    assert [split for _, split in seen] == splits
    for gradient, group in zip(seen[0][0], first[0], strict=True):  # later batches: the next test
        expected = record.gradients(small_network().double(), group).mean(axis=0)
        assert np.linalg.norm(expected) > 100 * config.max_grad_norm
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("team", [1, 2])
def test_listener_of_products_gets_those_of_the_groups_and_training_is_the_same(team: int) -> None:
    groups = record_groups(PPO, team=team)
    network, workers = small_network(), Team(team)
    seen: list[tuple[Tensor, GroupSplit]] = []
    updater = Updater(
        network, PPO, groups=GROUPS, precision="float32", on_products=lambda *two: seen.append(two), team=workers
    )
    updater.update(rollouts_of(0)[0], learning_rate=PPO.learning_rate, seed=SEED)
    workers.close()
    assert len(seen) == len(groups)
    for (products, split), (rows, expected_split) in zip(seen, groups, strict=True):
        assert split == expected_split
        torch.testing.assert_close(products, rows.double() @ rows.double().T, rtol=1e-4, atol=1e-6)
    assert_same_training(train(PPO, team=team, on_groups=lambda gradients, split: None)[0], network, 1e-5)


def test_all_groups_of_a_batch_are_at_one_parameter_vector() -> None:
    config = replace(PPO, minibatches=4, epochs=1)
    network = small_network()
    rollouts, observations = rollouts_of(0)
    record, first = SlowRecord(rollouts, observations, config), batches_of(config)[0]
    seen: list[tuple[Tensor, Tensor]] = []
    updater = Updater(
        network,
        config,
        groups=GROUPS,
        precision="float32",
        on_groups=lambda gradients, split: seen.append((gradients.clone(), flat(network))),
    )
    updater.update(rollouts, learning_rate=5e-2, seed=SEED)
    for (gradients, parameters), groups in zip(seen, first, strict=True):
        twin = small_network().double()
        torch.nn.utils.vector_to_parameters(parameters, twin.parameters())
        for gradient, group in zip(gradients, groups, strict=True):
            np.testing.assert_allclose(gradient, record.gradients(twin, group).mean(axis=0), rtol=2e-3, atol=2e-5)
    assert (seen[0][1] - seen[-1][1]).norm() > 0.1  # the parameters did move in between


def test_shuffled_split_has_other_groups_and_the_same_mean() -> None:
    by_env, shuffled = record_groups(PPO), record_groups(PPO, split_shuffled=True)
    assert [split.shuffled for _, split in by_env] == [False, False]
    assert [split.shuffled for _, split in shuffled] == [True, False]
    (whole, _), (dealt, _) = by_env[0], shuffled[0]
    torch.testing.assert_close(dealt.mean(0), whole.mean(0), rtol=1e-4, atol=1e-6)
    assert (dealt - whole).norm() > 0.1 * whole.norm()


def test_a_shuffled_split_is_asked_of_nobody_without_a_listener() -> None:
    assert torch.equal(flat(train(PPO, split_shuffled=True)[0]), flat(train(PPO)[0]))


def test_bfloat16_gradients_point_the_same_way() -> None:
    gradients = {}
    for precision in ("float32", "bfloat16"):
        rows: list[Tensor] = []
        train(A2C, precision=precision, on_groups=lambda g, split, rows=rows: rows.append(g.clone()))  # type: ignore[misc]
        gradients[precision] = rows[0]
    assert gradients["bfloat16"].dtype == torch.float32
    assert not torch.equal(gradients["float32"], gradients["bfloat16"])
    assert torch.cosine_similarity(gradients["float32"], gradients["bfloat16"], dim=1).min() > 0.98


@pytest.mark.parametrize("team", [1, 2])
def test_gradients_of_any_split_equal_the_twin_and_train_nothing(team: int) -> None:
    rollouts, observations = rollouts_of(0)
    network, workers = small_network(), Team(team)
    before = copy.deepcopy(network.state_dict())
    updater = Updater(network, PPO, groups=3, precision="float32", team=workers)
    splits = [[np.array([5]), np.array([0, 7, 23]), np.array([11, 2])], [np.arange(24)]]
    found = [rows.clone() for rows in updater.gradients(rollouts, splits)]
    workers.close()
    record, twin = SlowRecord(rollouts, observations, PPO), small_network().double()
    for rows, parts in zip(found, splits, strict=True):
        expected = np.stack([record.gradients(twin, part).mean(axis=0) for part in parts])
        np.testing.assert_allclose(rows.numpy(), expected, rtol=2e-4, atol=1e-6)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
