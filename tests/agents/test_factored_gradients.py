"""Updates whose inner products come without rows of the hidden layer's weights, against updates with rows."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import torch
from torch import Tensor

from rlgns.agents.compute import native
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig, NetworkConfig
from rlgns.agents.network import ActorCritic, build_network
from rlgns.agents.update import Updater
from tests.agents.compute.test_step_graphs import Replays
from tests.agents.synthetic import near_policy, random_rollouts
from tests.agents.training import flat

STACK, SIZE, ACTIONS, STEPS, ENVS = 2, 16, 4, 8, 8
CONFIG = AgentConfig(rollout_steps=STEPS, epochs=2, minibatches=2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Operations this small spend their time at the barriers of several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def new_network(last_channels: int = 8) -> ActorCritic:
    torch.manual_seed(0)
    config = NetworkConfig(channels=(16, last_channels), kernels=(4, 3), strides=(2, 1), hidden=32)
    return build_network(config, num_actions=ACTIONS, frame_stack=STACK, image_size=SIZE)


def trained(
    factored: bool | None,
    *,
    groups: int = 4,
    precision: str = "float32",
    updates: int = 2,
    by_loss: bool = True,
    **more: Any,
) -> tuple[Tensor, list[Tensor], list[Tensor], Updater]:
    """Weights; the products and those by loss that were handed out."""
    network, products, losses = new_network(), [], []
    updater = Updater(
        network,
        CONFIG,
        groups=groups,
        precision=precision,
        on_products=lambda found, split: products.append(found.clone()),
        on_losses=lambda found, split: losses.append(found.clone()),
        factored=factored,
        **more,
    )
    for update in range(updates):
        parts, seen = zip(
            *(random_rollouts(2 * update + k, steps=STEPS, envs=ENVS // 2, stack=STACK, size=SIZE) for k in range(2)),
            strict=True,
        )
        rollouts = [part[0] for part in parts]
        near_policy(rollouts, [one[0] for one in seen], new_network(), seed=update)
        step = update % 2 if by_loss else None
        updater.update(rollouts, learning_rate=1e-3, seed=(0, update), split_shuffled=update == 1, step_by_loss=step)
    return flat(network), products, losses, updater


def error(found: list[Tensor], expected: list[Tensor]) -> float:
    assert len(found) == len(expected)
    return float((torch.stack(found) - torch.stack(expected)).norm() / torch.stack(expected).norm())


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("team", [1, 3])
def test_measurement_and_training_are_those_with_rows(groups: int, team: int) -> None:
    """Float32. Later batches are at other weights, so the products say that the steps were the same too."""
    rows_weights, rows_products, rows_losses, _ = trained(False, groups=groups)
    with closing(Team(team)) as workers:
        weights, products, losses, updater = trained(True, groups=groups, team=workers)
    assert updater._gradients._factored is not None
    assert len(updater._flat.rows) == team  # none for each group
    assert len(products) == 4
    assert len(losses) == 2
    assert error(products, rows_products) < 1e-5
    assert error(losses, rows_losses) < 1e-5
    start = flat(new_network())
    assert (weights - rows_weights).norm() < 1e-4 * (rows_weights - start).norm()


def test_one_observation_a_group() -> None:
    """Groups of an environment each, in rollouts of one step."""
    found: list[list[Tensor]] = [[], []]
    (rollout,), _ = random_rollouts(0, steps=1, envs=ENVS, stack=STACK, size=SIZE)
    for factored, products in zip((False, True), found, strict=True):
        updater = Updater(
            new_network(),
            AgentConfig(rollout_steps=1, epochs=1, minibatches=2),
            groups=4,
            precision="float32",
            on_products=lambda grams, split, products=products: products.append(grams.clone()),  # type: ignore[misc]
            factored=factored,
        )
        updater.update([rollout], learning_rate=1e-3, seed=(0, 0))
    assert len(found[0]) == 2
    assert error(found[1], found[0]) < 1e-5


def test_bfloat16_differs_by_its_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlgns.agents.compute.compute_copy.NativeConvolutions.fit", lambda network: False)
    exact = trained(False, updates=1)[1][:1]
    rows, found = (trained(factored, precision="bfloat16", updates=1)[1][:1] for factored in (False, True))
    assert 0 < error(rows, exact) < 0.03
    assert error(found, exact) < 1.5 * error(rows, exact)


def test_nothing_depends_on_whether_a_batch_is_split_by_loss() -> None:
    plain, expected, none, _ = trained(True, by_loss=False)
    weights, products, some, _ = trained(True)
    assert (len(none), len(some)) == (0, 2)
    assert torch.equal(plain, weights)
    assert all(torch.equal(one, other) for one, other in zip(expected, products, strict=True))


def test_recorded_steps_are_the_same() -> None:
    plain, expected, plain_losses, _ = trained(True, updates=6)
    recorder = Replays()
    weights, products, losses, _ = trained(True, updates=6, recorder=recorder)
    assert recorder.replayed
    assert torch.equal(plain, weights)
    assert all(torch.equal(*pair) for pair in zip(expected + plain_losses, products + losses, strict=True))


@pytest.mark.parametrize("needs_rows", [{"on_groups": lambda rows, split: None}, {"on_products": None}])
def test_rows_stay_where_they_are_needed(needs_rows: dict[str, Any]) -> None:
    listeners = {"on_products": lambda products, split: None, **needs_rows}
    updater = Updater(new_network(), CONFIG, groups=4, precision="float32", factored=True, **listeners)
    assert updater._gradients._factored is None
    assert len(updater._flat.rows) == 4


@pytest.mark.parametrize(("groups", "factored"), [(8, False), (16, True)])
def test_a_processor_without_kernels_chooses_by_its_rule(groups: int, factored: bool) -> None:
    updater = Updater(
        new_network(),
        CONFIG,
        groups=groups,
        precision="float32",
        on_products=lambda products, split: None,
        batch_observations=16,
    )
    assert (updater._gradients._factored is not None) == updater._copy.in_one_pass == factored


@pytest.mark.skipif(native.library() is None, reason="needs the compiled kernels")
def test_the_compiled_kernels_keep_their_rows() -> None:
    network = new_network(last_channels=16)
    updater = Updater(
        network, CONFIG, groups=16, precision="bfloat16", on_products=lambda *_: None, batch_observations=16
    )
    assert updater._gradients._factored is None
    assert updater._copy.takes_parts
