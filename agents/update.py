"""One iteration of PPO or A2C: advantages, epochs, minibatches, optimizer steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from rlgns.agents.batch_gradients import BatchGradients, OnGroups, OnLosses, OnProducts
from rlgns.agents.batches import Indices, environment_batches, shuffle_groups, shuffled_batches
from rlgns.agents.buffers import Buffers
from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.data_parallel import DataParallel
from rlgns.agents.compute.flat_gradients import FlatGradients, clip_
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.loss import STATISTICS
from rlgns.agents.network import ActorCritic
from rlgns.agents.optimizer import make_optimizer
from rlgns.agents.rollout import FrameStacks, Rollout
from rlgns.agents.rollout_gradients import BeforeSteps, RolloutGradients
from rlgns.agents.training_data import make_training_data


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateStats:
    """What one iteration's update reports."""

    metrics: dict[str, float]
    """By key of metrics.jsonl: the loss's statistics and grad_norm, means over optimizer steps; explained_variance."""

    optimizer_steps: int


@final
class Updater:
    """Improves a network from rollouts, and hands out group gradients of the first epoch's batches on the way."""

    def __init__(
        self,
        network: ActorCritic,
        config: AgentConfig,
        *,
        groups: int,
        precision: str,
        on_groups: OnGroups | None = None,
        on_products: OnProducts | None = None,
        on_losses: OnLosses | None = None,
        team: Team | None = None,
        data_parallel: DataParallel | None = None,
    ) -> None:
        """Takes what is trained and with what.

        Args:
            network: Is trained in place.
            config: Settings of loss and update.
            groups: Groups of whole environments per batch of the first epoch; `update` may ask for fewer.
            precision: `float32` or `bfloat16`.
            on_groups: Listener of group gradients.
            on_products: Listener of their inner products; without it and `on_groups` nothing is measured.
            on_losses: Listener of the inner products by loss of those batches for which `update` asks.
            team: Threads that share each batch's work; None: the caller's alone.
            data_parallel: Learner processes that share each batch's work; None: this one alone. All must hold the same
                weights, and be given the same rollouts and arguments.
        """
        self._config, self._groups = config, groups
        self._team, self._data_parallel = team or Team(1), data_parallel or DataParallel()
        self._buffers = Buffers()
        self._copy = ComputeCopy(network, precision)
        rows = max(-(-groups // self._data_parallel.count), self._team.size)
        self._flat = FlatGradients(network, rows=rows)
        self._device = self._flat.rows.device
        self._gradients = BatchGradients(
            self._copy,
            self._flat,
            config,
            on_groups=on_groups,
            on_products=on_products,
            on_losses=on_losses,
            team=self._team,
            data_parallel=self._data_parallel,
        )
        self.optimizer = make_optimizer(list(network.parameters()), config, self._team)

    def update(
        self,
        rollouts: Sequence[Rollout],
        *,
        learning_rate: float,
        seed: Sequence[int],
        groups: int | None = None,
        split_shuffled: bool = False,
        step_by_loss: int | None = None,
        before_steps: BeforeSteps | None = None,
    ) -> UpdateStats:
        """Runs all epochs over one iteration's rollouts.

        The first epoch's batches are whole environments. Where there is a listener, each batch's gradient is computed
        group by group at one parameter vector, and the mean over groups is the step's gradient. Later epochs reuse the
        data: they are shuffled and never measured.

        Args:
            rollouts: Of equal length, one per set of environments.
            learning_rate: Step size of every step of this iteration.
            seed: Integers that determine the batches.
            groups: Groups per batch of the first epoch, at most those given at the start; None: as many.
            split_shuffled: The first batch is split by shuffled observations instead of environments.
            step_by_loss: The batch before which so many steps were taken in the first epoch is also split by loss, with
                a second backward pass, of the policy's loss; None: no batch. Training does not depend on it.
            before_steps: Called once before the first step, with all observations of this iteration; changes nothing.

        Returns:
            Statistics of the iteration.
        """
        config = self._config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        stacks = FrameStacks(rollouts, self._device, self._copy.block, self._buffers)
        data, explained_variance = make_training_data(rollouts, config, self._device)
        self._copy.refresh(self._team)
        if before_steps is not None:
            before_steps(
                RolloutGradients(
                    self._copy,
                    self.optimizer,
                    config,
                    stacks=stacks,
                    data=data,
                    team=self._team,
                    data_parallel=self._data_parallel,
                )
            )
        rng = np.random.default_rng(list(seed))
        totals = torch.zeros(len(STATISTICS) + 1, device=self._device)
        steps = 0
        for epoch in range(config.epochs):
            for parts in self._batches(rng, epoch, stacks, groups or self._groups):
                if epoch == 0 and self._gradients.listened_to:
                    shuffled = split_shuffled and steps == 0
                    parts = shuffle_groups(rng, parts) if shuffled else parts
                    statistics, gradient = self._gradients.measured(
                        parts, stacks, data, shuffled=shuffled, step=steps, by_loss=steps == step_by_loss
                    )
                else:
                    statistics, gradient = self._gradients.unmeasured(np.concatenate(parts), stacks, data)
                norm = clip_(gradient, config.max_grad_norm, self._team)
                self.optimizer.step()
                self._copy.refresh(self._team)
                totals += torch.cat([statistics, norm[None] / self._data_parallel.count])
                steps += 1
        self._data_parallel.add_up(totals)
        *means, grad_norm = (totals / steps).tolist()
        metrics = dict(zip(STATISTICS, means, strict=True))
        metrics |= {"explained_variance": explained_variance, "grad_norm": grad_norm}
        return UpdateStats(metrics=metrics, optimizer_steps=steps)

    def gradients(self, rollouts: Sequence[Rollout], splits: Iterable[Sequence[Indices]]) -> Iterator[Tensor]:
        """Computes gradients of one iteration's rollouts in any split, at the present parameters. Trains nothing.

        Args:
            rollouts: As for `update`.
            splits: Each a list of parts, at most as many as there are groups; a part is indices `step * N + env`.

        Yields:
            Per split the gradients of its parts' mean losses [parts, parameters], overwritten by the next.
        """
        stacks = FrameStacks(rollouts, self._device, self._copy.block)
        data, _ = make_training_data(rollouts, self._config, self._device)
        self._copy.refresh(self._team)
        for parts in splits:
            self._gradients.of_parts(parts, stacks, data)
            yield self._flat.rows[: len(parts)]

    def _batches(
        self, rng: np.random.Generator, epoch: int, stacks: FrameStacks, groups: int
    ) -> Sequence[list[Indices]]:
        """Returns the batches of an epoch, each in parts: the first epoch's in groups, the others in one."""
        minibatches, steps, envs = self._config.minibatches, stacks.num_steps, stacks.num_envs
        if epoch == 0:
            first = environment_batches(rng, num_steps=steps, num_envs=envs, minibatches=minibatches, groups=groups)
            return list(first)
        return [[part] for part in shuffled_batches(rng, observations=steps * envs, minibatches=minibatches)]
