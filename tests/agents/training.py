"""Small iterations of training, and comparisons of what they changed."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rlgns.agents.batch_gradients import OnGroups
from rlgns.agents.batches import environment_batches, shuffled_batches
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.network import ActorCritic
from rlgns.agents.rollout import Rollout
from rlgns.agents.update import Updater, UpdateStats
from tests.agents.synthetic import near_policy, random_rollouts, small_network

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
