"""One iteration of PPO and A2C against a float64 twin, and what it hands out on the way."""

import copy
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from rlgns.agents.batches import environment_batches, shuffled_batches
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.network import ActorCritic
from rlgns.agents.rollout import Rollout
from rlgns.agents.update import GroupSplit, OnGroups, Updater, UpdateStats, make_optimizer
from tests.agents.synthetic import ACTIONS, NETWORK, SIZE, STACK, near_policy, random_rollouts, small_network
from tests.reference import SlowRecord, slow_update

STEPS = 3
PPO = AgentConfig(rollout_steps=STEPS, epochs=2, minibatches=2, clip=0.2, learning_rate=1e-3)
A2C = AgentConfig(
    algorithm="a2c",
    rollout_steps=STEPS,
    epochs=1,
    minibatches=1,
    normalise_advantages=False,
    optimizer="rmsprop",
    learning_rate=7e-4,
    max_grad_norm=0.3,
)
GROUPS, SEED = 2, (3, 1)


def rollouts_of(seed: int) -> tuple[list[Rollout], list[np.ndarray]]:
    """Two runners' rollouts of 4 + 4 environments."""
    first, second = (random_rollouts(seed + i, steps=STEPS, envs=4) for i in range(2))
    rollouts, observations = [first[0][0], second[0][0]], [first[1][0], second[1][0]]
    near_policy(rollouts, observations, small_network(), seed=seed)
    return rollouts, observations


def train(
    config: AgentConfig,
    *,
    seed: Sequence[int] = SEED,
    on_groups: OnGroups | None = None,
    team: int = 1,
    precision: str = "float32",
    split_shuffled: bool = False,
) -> tuple[ActorCritic, UpdateStats]:
    network, workers = small_network(), Team(team)
    updater = Updater(network, config, groups=GROUPS, precision=precision, on_groups=on_groups, team=workers)
    stats = updater.update(
        rollouts_of(0)[0], learning_rate=config.learning_rate, seed=seed, split_shuffled=split_shuffled
    )
    workers.close()
    return network, stats


def flat(network: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().double().flatten() for p in network.parameters()])


def batches_of(config: AgentConfig, seed: Sequence[int] = SEED) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
    """The first epoch's batches in groups, and all epochs' batches."""
    rng = np.random.default_rng(list(seed))
    first = list(environment_batches(rng, num_steps=STEPS, num_envs=8, minibatches=config.minibatches, groups=GROUPS))
    batches = [np.concatenate(groups) for groups in first]
    for _ in range(1, config.epochs):
        batches += shuffled_batches(rng, observations=8 * STEPS, minibatches=config.minibatches)
    return first, batches


def assert_same_training(one: torch.nn.Module, other: torch.nn.Module, tolerance: float) -> None:
    """Compares what training changed, relative to the change."""
    start = flat(small_network())
    change, difference = (flat(one) - start).norm(), (flat(one) - flat(other)).norm()
    assert change > 1e-3  # else there is nothing to compare
    assert difference < tolerance * change


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
    assert stats.policy_loss == pytest.approx(expected["policy"], rel=1e-3, abs=1e-4)
    assert stats.value_loss == pytest.approx(expected["value"], rel=1e-4)
    assert stats.entropy == pytest.approx(expected["entropy"], rel=1e-4)
    assert stats.approx_kl == pytest.approx(expected["approx_kl"], rel=1e-3)
    assert stats.clip_fraction == pytest.approx(expected["clip_fraction"], abs=1e-6)
    assert stats.grad_norm == pytest.approx(expected["grad_norm"], rel=1e-3)
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
    assert all(split == GroupSplit(observations_per_group=2 * STEPS, shuffled=False) for _, split in seen)
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
    network = ActorCritic(wide, num_actions=ACTIONS, frame_stack=STACK, image_size=SIZE)
    before = flat(network)
    with closing(Team(team)) as workers:
        config = replace(PPO, optimizer=optimizer)
        updater = Updater(network, config, groups=GROUPS, precision="bfloat16", team=workers)
        updater.update(rollouts_of(0)[0], learning_rate=1e-3, seed=SEED)
    assert not torch.equal(flat(network), before)
    for mine, master in zip(updater._copy.parameters, network.parameters(), strict=True):
        assert torch.equal(mine, master.to(mine.dtype))


def test_bfloat16_gradients_point_the_same_way() -> None:
    gradients = {}
    for precision in ("float32", "bfloat16"):
        rows: list[Tensor] = []
        train(A2C, precision=precision, on_groups=lambda g, split, rows=rows: rows.append(g.clone()))  # type: ignore[misc]
        gradients[precision] = rows[0]
    assert gradients["bfloat16"].dtype == torch.float32
    assert not torch.equal(gradients["float32"], gradients["bfloat16"])
    assert torch.cosine_similarity(gradients["float32"], gradients["bfloat16"], dim=1).min() > 0.98


def test_explained_variance_is_one_minus_the_share_of_the_error() -> None:
    rollouts, observations = rollouts_of(0)
    record = SlowRecord(rollouts, observations, PPO)
    expected = 1 - (record.targets - record.values).var() / record.targets.var()
    assert train(PPO)[1].explained_variance == pytest.approx(expected, rel=1e-4)


def test_explained_variance_of_constant_returns_is_undefined() -> None:
    (rollout,), _ = random_rollouts(0, steps=STEPS, envs=4, end_probability=0)
    rollout.rewards[:], rollout.values[:] = 0, 0
    updater = Updater(small_network(), PPO, groups=GROUPS, precision="float32")
    stats = updater.update([rollout], learning_rate=1e-3, seed=SEED)
    assert np.isnan(stats.explained_variance)
    assert np.isfinite([stats.policy_loss, stats.value_loss, stats.grad_norm]).all()


def test_learning_rate_is_that_of_the_call() -> None:
    network = small_network()
    updater = Updater(network, PPO, groups=GROUPS, precision="float32")
    before = flat(network)
    updater.update(rollouts_of(0)[0], learning_rate=0.0, seed=SEED)
    assert torch.equal(flat(network), before)
    assert [group["lr"] for group in updater.optimizer.param_groups] == [0.0]


def test_optimizers_have_the_settings_of_the_configuration() -> None:
    parameters = list(small_network().parameters())
    adam = make_optimizer(parameters, replace(PPO, optimizer_epsilon=3e-4), Team(1))
    assert isinstance(adam, torch.optim.Adam)
    assert (adam.defaults["eps"], adam.defaults["betas"], adam.defaults["weight_decay"]) == (3e-4, (0.9, 0.999), 0)
    rmsprop = make_optimizer(parameters, replace(PPO, optimizer="rmsprop", optimizer_epsilon=3e-4), Team(1))
    assert isinstance(rmsprop, torch.optim.RMSprop)
    assert [rmsprop.defaults[name] for name in ("eps", "alpha", "momentum", "centered")] == [3e-4, 0.99, 0, False]


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
