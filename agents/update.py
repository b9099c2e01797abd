"""One iteration of PPO or A2C: advantages, epochs, minibatches, optimizer steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from rlgns.agents.batch_gradients import BatchGradients, GroupSplit, OnGroups
from rlgns.agents.batches import Batch, Indices, draw_batches
from rlgns.agents.buffers import Buffers
from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.data_parallel import DataParallel
from rlgns.agents.compute.factored import factored_is_cheaper
from rlgns.agents.compute.flat_gradients import FlatGradients
from rlgns.agents.compute.step_graphs import CudaRecorder, Recorder, StepGraphs
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.factored_gradients import FactoredGradients
from rlgns.agents.loss import STATISTICS, Minibatch
from rlgns.agents.network import ActorCritic
from rlgns.agents.optimizer import make_optimizer, set_learning_rate
from rlgns.agents.optimizer_steps import OptimizerSteps
from rlgns.agents.rollout import FrameStacks, Rollout, as_tensors
from rlgns.agents.rollout_gradients import BeforeSteps, RolloutGradients
from rlgns.agents.training_data import make_training_data
from rlgns.agents.upload import Upload

OnProducts = Callable[[Tensor, GroupSplit], None]
"""Receives the inner products of one batch's group gradients, float64 [groups, groups] on the CPU, after the last step.

Of several learners each receives those of its columns.
"""

OnLosses = Callable[[Tensor, GroupSplit], None]
"""Receives inner products by loss, float64 [2, 2, groups, groups] on the CPU, after the last step (`StepGradient`)."""


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
        cuda_graphs: bool = True,
        recorder: Recorder | None = None,
        say: Callable[[str], None] = print,
        batch_observations: int | None = None,
        factored: bool | None = None,
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
            cuda_graphs: Whether a GPU replays steps that it has recorded. Several learners, and a listener of group
                gradients, which need the host in every step, do without.
            recorder: Records steps on any device; None: as `cuda_graphs` says.
            say: Gets one line if steps cannot be recorded.
            batch_observations: Of a measured batch, if known.
            factored: Whether the inner products of groups are computed without rows of the hidden layer's weights
                (`FactoredGradients`), unless several learners or a listener of group gradients need the rows, or the
                compiled kernels compute. None: where it costs less for `batch_observations` (`factored_is_cheaper`).
        """
        self._config, self._groups = config, groups
        self._team, self._data_parallel = team or Team(1), data_parallel or DataParallel()
        alone = self._data_parallel.count == 1 and on_groups is None
        self._copy = ComputeCopy(network, precision)
        can = alone and on_products is not None and self._copy.takes_one_pass
        if can and factored is None and batch_observations is not None:
            factored = factored_is_cheaper(self._copy.hidden_weight, batch=batch_observations, groups=groups)
        factored = can and bool(factored)
        self._copy.in_one_pass |= factored
        rows = self._team.size if factored else max(-(-groups // self._data_parallel.count), self._team.size)
        self._flat = FlatGradients(network, rows=rows)
        self._device = self._flat.rows.device
        self._on_products, self._on_losses = on_products, on_losses
        self._listened_to = on_groups is not None or on_products is not None
        self._gradients = BatchGradients(
            self._copy,
            self._flat,
            config,
            on_groups=on_groups,
            team=self._team,
            data_parallel=self._data_parallel,
            factored=FactoredGradients(self._copy, self._flat, config, groups=groups, team=self._team)
            if factored
            else None,
        )
        self.optimizer = make_optimizer(list(network.parameters()), config, self._team)
        if recorder is None and cuda_graphs and alone and self._device.type == "cuda" and torch.cuda.is_available():
            recorder = CudaRecorder()
        self._upload = Upload(self._device, packs=True if recorder else None)
        self._upload_batches = Upload(self._device, packs=True if recorder else None)
        self._buffers = Buffers()
        self._steps = OptimizerSteps(
            self._gradients,
            self._copy,
            self.optimizer,
            max_grad_norm=config.max_grad_norm,
            learners=self._data_parallel.count,
            team=self._team,
            graphs=StepGraphs(recorder, say),
        )

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

        A device gets two copies, of the rollouts and of all batches, and the host one, of all that steps report.

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
        set_learning_rate(self.optimizer, learning_rate)
        stacks, data, explained_variance = self._given(rollouts, self._buffers)
        self._copy.refresh(self._team)
        if before_steps is not None:
            before_steps(
                RolloutGradients(
                    self._copy,
                    self.optimizer,
                    self._config,
                    stacks=stacks,
                    data=data,
                    team=self._team,
                    data_parallel=self._data_parallel,
                )
            )
        batches = list(
            draw_batches(
                np.random.default_rng(list(seed)),
                self._config,
                num_steps=stacks.num_steps,
                num_envs=stacks.num_envs,
                groups=groups or self._groups,
                split_shuffled=split_shuffled and self._listened_to,
            )
        )
        indices = np.concatenate([part for batch in batches for part in batch.parts])
        (where,) = self._upload_batches([[torch.from_numpy(indices)]])
        splits = [self._split(batch, step) for step, batch in enumerate(batches)]
        self._steps.begin(stacks, data)
        begin = 0
        for step, (batch, split) in enumerate(zip(batches, splits, strict=True)):
            sizes = [len(part) for part in batch.parts]
            self._steps.take(
                where[begin : begin + sum(sizes)],
                sizes,
                split,
                products=self._on_products is not None,
                by_loss=split is not None and self._on_losses is not None and step == step_by_loss,
            )
            begin += sum(sizes)
        return self._finish(splits, explained_variance)

    def gradients(self, rollouts: Sequence[Rollout], splits: Iterable[Sequence[Indices]]) -> Iterator[Tensor]:
        """Computes gradients of one iteration's rollouts in any split, at the present parameters. Trains nothing.

        Args:
            rollouts: As for `update`.
            splits: Each a list of parts, at most as many as there are groups (`factored`: as the team has threads); a
                part is indices `step * N + env`.

        Yields:
            Per split the gradients of its parts' mean losses [parts, parameters], overwritten by the next.
        """
        stacks, data, _ = self._given(rollouts, None)
        self._copy.refresh(self._team)
        for parts in splits:
            self._gradients.of_parts([torch.from_numpy(part).to(self._device) for part in parts], stacks, data)
            yield self._flat.rows[: len(parts)]

    def _given(self, rollouts: Sequence[Rollout], buffers: Buffers | None) -> tuple[FrameStacks, Minibatch, float]:
        """Returns the rollouts on the device, and the share of the returns' variance that their values explain."""
        data, explained_variance = make_training_data(rollouts, self._config)
        upload = Upload(self._device) if buffers is None else self._upload
        held = [rollout.frames_there() if rollout.frames_there else None for rollout in rollouts]
        there = [frames for frames in held if frames is not None]
        frames = there if len(there) == len(rollouts) else as_tensors([rollout.frames for rollout in rollouts])
        ages = as_tensors([rollout.ages for rollout in rollouts])
        joined, *rest = upload([frames, ages, *([column] for column in data)])
        return FrameStacks(joined, rest[0], self._copy.block, buffers), Minibatch(*rest[1:]), explained_variance

    def _split(self, batch: Batch, step: int) -> GroupSplit | None:
        if not (batch.first_epoch and self._listened_to):
            return None
        return GroupSplit(observations_per_group=len(batch.parts[0]), shuffled=batch.shuffled, step=step)

    def _finish(self, splits: Sequence[GroupSplit | None], explained_variance: float) -> UpdateStats:
        """Hands out what was measured, and sums up what the steps report."""
        totals = torch.zeros(len(STATISTICS) + 1)
        for report, split in zip(self._steps.finish(), splits, strict=True):
            totals += report.statistics
            if split is not None and report.products is not None and self._on_products is not None:
                self._on_products(report.products, split)
            if split is not None and report.by_loss is not None and self._on_losses is not None:
                self._on_losses(report.by_loss, split)
        self._data_parallel.add_up(totals)
        *means, grad_norm = (totals / len(splits)).tolist()
        metrics = dict(zip(STATISTICS, means, strict=True))
        metrics |= {"explained_variance": explained_variance, "grad_norm": grad_norm}
        return UpdateStats(metrics=metrics, optimizer_steps=len(splits))
