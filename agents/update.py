"""One iteration of PPO or A2C: advantages, epochs, minibatches, optimizer steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rlgns.agents.batches import Indices, environment_batches, shuffle_groups, shuffled_batches
from rlgns.agents.compute.buffers import Buffers
from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.data_parallel import DataParallel
from rlgns.agents.compute.flat_gradients import FlatGradients, clip_, equal_parts, mean_rows_
from rlgns.agents.compute.products import products_and_mean_
from rlgns.agents.compute.sliced_adam import SlicedAdam
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.gae import advantages_and_returns
from rlgns.agents.loss import Minibatch, actor_critic_loss
from rlgns.agents.network import ActorCritic
from rlgns.agents.rollout import FrameStacks, Rollout, side_by_side
from rlgns.agents.rollout_gradients import BeforeSteps, RolloutGradients


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSplit:
    """How a measured batch was split; its gradients are [groups, parameters], each the mean over a group."""

    observations_per_group: int
    shuffled: bool
    """True: the groups are random observations of the batch; False: whole environments."""


OnGroups = Callable[[Tensor, GroupSplit], None]
"""Receives the group gradients of one batch at one parameter vector, before clipping. Must not keep them.

Of several learners each receives all groups, and of their gradients its own columns.
"""

OnProducts = Callable[[Tensor, GroupSplit], None]
"""Receives the inner products of those gradients, float64 [groups, groups]; of several learners those of its columns.

They are made on the way to the batch's mean gradient, and cost next to nothing there.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpdateStats:
    """Means over the optimizer steps of one iteration; keys follow the metrics page."""

    policy_loss: float
    value_loss: float
    entropy: float
    approx_kl: float
    clip_fraction: float
    grad_norm: float
    explained_variance: float
    optimizer_steps: int


class Updater:
    """Improves a network from rollouts, and hands out group gradients of fresh observations on the way."""

    def __init__(
        self,
        network: ActorCritic,
        config: AgentConfig,
        *,
        groups: int,
        precision: str,
        on_groups: OnGroups | None = None,
        on_products: OnProducts | None = None,
        team: Team | None = None,
        learners: DataParallel | None = None,
    ) -> None:
        """Takes what is trained and with what.

        Args:
            network: Is trained in place.
            config: Settings of loss and update.
            groups: Groups of whole environments per batch of the first epoch, at most and unless `update` is told.
            precision: `float32` or `bfloat16`.
            on_groups: Listener of group gradients.
            on_products: Listener of their inner products; without any listener nothing is measured.
            team: Threads that share each batch's work; None: the caller's alone.
            learners: Processes that share each batch's work; None: this one alone. All must hold the same weights, and
                be given the same rollouts and arguments.
        """
        self._config, self._on_groups, self._on_products = config, on_groups, on_products
        self._network, self._groups = network, groups
        self._team, self._learners = team or Team(1), learners or DataParallel()
        parameters = list(network.parameters())
        self._device = parameters[0].device
        rows = max(-(-groups // self._learners.count), self._team.size)
        self._gradients = FlatGradients(network, rows=rows)
        self._kept = Buffers()
        self._copy = ComputeCopy(network, precision)
        self.optimizer = make_optimizer(parameters, config, self._team)

    def update(
        self,
        rollouts: Sequence[Rollout],
        *,
        learning_rate: float,
        seed: Sequence[int],
        groups: int | None = None,
        split_shuffled: bool = False,
        before_steps: BeforeSteps | None = None,
    ) -> UpdateStats:
        """Runs all epochs over one iteration's rollouts.

        The first epoch's batches are whole environments; where a listener was given, each batch's gradient is made
        group by group at one parameter vector and the mean over groups is the step's gradient. Later epochs reuse
        the data: they are shuffled and never measured.

        Args:
            rollouts: Of equal length, one per set of environments.
            learning_rate: Step size of every step of this iteration.
            seed: Integers that determine the batches.
            groups: Groups per batch of the first epoch, at most those given at the start; None: as many.
            split_shuffled: The first batch is split by shuffled observations instead of environments.
            before_steps: Called once before the first step, with all observations of this iteration; changes nothing.

        Returns:
            Statistics of the iteration.
        """
        config = self._config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        stacks = FrameStacks(rollouts, self._device, self._copy.block, self._kept)
        data, explained_variance = self._prepare(rollouts)
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
                    learners=self._learners,
                )
            )
        rng = np.random.default_rng(list(seed))
        totals = torch.zeros(6, device=self._device)
        steps = 0
        for epoch in range(config.epochs):
            for parts in self._batches(rng, epoch, stacks, groups or self._groups):
                measured = epoch == 0 and bool(self._on_groups or self._on_products)
                shuffled = measured and split_shuffled and steps == 0
                if shuffled:
                    parts = shuffle_groups(rng, parts)
                losses, gradient = self._batch_gradient(parts, stacks, data, measured=measured, shuffled=shuffled)
                norm = clip_(gradient, config.max_grad_norm, self._team)
                self.optimizer.step()
                self._copy.refresh(self._team)
                totals += torch.cat([losses, norm[None] / self._learners.count])
                steps += 1
        self._learners.add_up(totals)
        policy, value, entropy, approx_kl, clip_fraction, norm = (totals / steps).tolist()
        return UpdateStats(
            policy_loss=policy,
            value_loss=value,
            entropy=entropy,
            approx_kl=approx_kl,
            clip_fraction=clip_fraction,
            grad_norm=norm,
            explained_variance=explained_variance,
            optimizer_steps=steps,
        )

    def gradients(self, rollouts: Sequence[Rollout], splits: Iterable[Sequence[Indices]]) -> Iterator[Tensor]:
        """Takes gradients of one iteration's rollouts in any split, at the present parameters. Nothing is trained.

        Args:
            rollouts: As for `update`.
            splits: Each a list of parts, at most as many as there are groups; a part is indices `step * N + env`.

        Yields:
            Per split the gradients of its parts' mean losses [parts, parameters], overwritten by the next.
        """
        stacks = FrameStacks(rollouts, self._device, self._copy.block)
        data, _ = self._prepare(rollouts)
        self._copy.refresh(self._team)
        for parts in splits:
            self._part_gradients(parts, stacks, data)
            yield self._gradients.rows[: len(parts)]

    def _batches(
        self, rng: np.random.Generator, epoch: int, stacks: FrameStacks, groups: int
    ) -> Sequence[list[Indices]]:
        minibatches = self._config.minibatches
        if epoch == 0:
            return list(
                environment_batches(
                    rng,
                    num_steps=stacks.num_steps,
                    num_envs=stacks.num_envs,
                    minibatches=minibatches,
                    groups=groups,
                )
            )
        observations = stacks.num_steps * stacks.num_envs
        return [[part] for part in shuffled_batches(rng, observations=observations, minibatches=minibatches)]

    def _prepare(self, rollouts: Sequence[Rollout]) -> tuple[Minibatch, float]:
        return prepare(rollouts, self._config, self._device)

    def _batch_gradient(
        self, parts: Sequence[Indices], stacks: FrameStacks, data: Minibatch, *, measured: bool, shuffled: bool
    ) -> tuple[Tensor, Tensor]:
        """Makes the mean gradient of a batch, which all learners share, the network's.

        Returns this learner's part of the sum over learners that is the batch's mean losses [5], and the gradient.
        """
        learners = self._learners
        if measured:
            mine: Sequence[Indices] = parts[learners.share(len(parts))]
            weight = len(mine) / len(parts)
        else:
            batch = np.concatenate(parts)
            own = batch[learners.share(len(batch))]
            mine = np.split(own, equal_parts(len(own), self._team.size)) if len(own) else []
            weight = len(own) / len(batch)
        losses = weight * self._part_gradients(mine, stacks, data)
        rows = self._gradients.rows[: len(mine)]
        if measured:
            columns = learners.columns(rows, len(parts))
            self._measure(columns, GroupSplit(observations_per_group=len(parts[0]), shuffled=shuffled))
            return losses, self._gradients.put(learners.joined(columns[0], rows.shape[1]))
        mean = mean_rows_(rows, self._team) if len(rows) else self._gradients.rows[0].zero_()
        return losses, self._gradients.put(learners.add_up(mean if weight == 1 else mean.mul_(weight)))

    def _measure(self, columns: Tensor, split: GroupSplit) -> None:
        """Hands out what was asked for, and leaves the mean of all groups in the first row."""
        if self._on_groups is not None:
            self._on_groups(columns, split)
        if self._on_products is not None:
            self._on_products(products_and_mean_(columns, self._team), split)
        else:
            mean_rows_(columns, self._team)

    def _part_gradients(self, parts: Sequence[Indices], stacks: FrameStacks, data: Minibatch) -> Tensor:
        """Leaves the gradient of each part's mean loss in its row; the team shares the parts.

        Returns the mean losses [5]; zeros where there are no parts.
        """
        if not parts:
            return torch.zeros(5, device=self._device)
        workers = min(self._team.size, len(parts))

        def work(worker: int) -> Tensor:
            rows = range(worker, len(parts), workers)
            together = [rows] if self._copy.takes_parts else [[row] for row in rows]
            return torch.stack([self._gradients_of(parts, some, stacks, data) for some in together]).sum(0)

        return torch.stack(self._team.map(work, range(workers))).sum(0) / sum(map(len, parts))

    def _gradients_of(
        self, parts: Sequence[Indices], rows: Sequence[int], stacks: FrameStacks, data: Minibatch
    ) -> Tensor:
        """Makes the gradients of those parts. Returns the losses summed over their observations [5]."""
        mine = [parts[row] for row in rows]
        where = torch.from_numpy(np.concatenate(mine)).to(self._device)
        evaluated = self._copy.evaluate(stacks, where)
        batch = Minibatch(*(column[where] for column in data))
        loss = actor_critic_loss(evaluated.logits, evaluated.values, batch, self._config)
        evaluated.differentiate(loss.total, [self._gradients.views[row] for row in rows], [len(part) for part in mine])
        return len(where) * torch.stack(loss[1:]).detach()


def prepare(rollouts: Sequence[Rollout], config: AgentConfig, device: torch.device) -> tuple[Minibatch, float]:
    """Returns what the loss needs of every observation, [T * N] in order of time, and the value's explained variance.

    Advantages are normalised here, once over all rollouts, if the settings say so.
    """
    estimates = [
        advantages_and_returns(rollout, gamma=config.gamma, gae_lambda=config.gae_lambda) for rollout in rollouts
    ]
    advantages = side_by_side([advantage for advantage, _ in estimates], device).reshape(-1)
    returns = side_by_side([target for _, target in estimates], device).reshape(-1)
    values = side_by_side([rollout.values[:-1] for rollout in rollouts], device).reshape(-1)
    variance = returns.var()
    explained = float("nan") if variance == 0 else float(1 - (returns - values).var() / variance)
    if config.normalise_advantages:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    data = Minibatch(
        actions=side_by_side([rollout.actions for rollout in rollouts], device).reshape(-1),
        log_probs=side_by_side([rollout.log_probs for rollout in rollouts], device).reshape(-1),
        values=values,
        advantages=advantages,
        returns=returns,
    )
    return data, explained


def make_optimizer(parameters: list[torch.nn.Parameter], config: AgentConfig, team: Team) -> torch.optim.Optimizer:
    """Adam (fused: one pass over memory, and its step count stays on the device) or RMSProp with smoothing 0.99."""
    if config.optimizer == "adam":
        return SlicedAdam(parameters, team=team, learning_rate=config.learning_rate, epsilon=config.optimizer_epsilon)
    return torch.optim.RMSprop(parameters, lr=config.learning_rate, alpha=0.99, eps=config.optimizer_epsilon)
