"""Gradients of batches, group by group where they are measured, shared between threads and processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from rlgns.agents.batches import Indices
from rlgns.agents.buffers import Buffers
from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.data_parallel import DataParallel
from rlgns.agents.compute.flat_gradients import FlatGradients, by_parameter, equal_parts, mean_rows_
from rlgns.agents.compute.forward_backward import Row
from rlgns.agents.compute.products import products_and_mean_, products_of_both
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.loss import STATISTICS, Minibatch, actor_critic_loss, policy_part
from rlgns.agents.rollout import FrameStacks


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSplit:
    """How a measured batch was split; its gradients are [groups, parameters], each the mean over a group."""

    observations_per_group: int
    shuffled: bool
    """True: the groups are random observations of the batch; False: whole environments."""
    step: int
    """Optimizer steps that were taken before on the same rollouts; 0: at the parameters that played them."""


OnGroups = Callable[[Tensor, GroupSplit], None]
"""Receives the group gradients of one batch at one parameter vector, before clipping. Must not keep them.

With several learners each receives all groups, and of their gradients its own columns.
"""

OnProducts = Callable[[Tensor, GroupSplit], None]
"""Receives the inner products of those gradients, float64 [groups, groups].

Of several learners each receives those of its columns.

They are computed along with the batch's mean gradient, where they cost next to nothing.
"""

OnLosses = Callable[[Tensor, GroupSplit], None]
"""Receives inner products by loss, float64 [2, 2, groups, groups].

Entry (l, m, j, k) is <g_j of loss l, g_k of loss m>. Loss 0 is the policy's with the entropy bonus, loss 1 the value's,
both with their coefficients: they add up to the whole loss. Of several learners each receives those of its columns.
"""


@final
class BatchGradients:
    """Computes gradients of batches at the present weights of a network's copy."""

    def __init__(
        self,
        copy: ComputeCopy,
        gradients: FlatGradients,
        config: AgentConfig,
        *,
        on_groups: OnGroups | None,
        on_products: OnProducts | None,
        on_losses: OnLosses | None,
        team: Team,
        data_parallel: DataParallel,
    ) -> None:
        """Takes the network's copy, the rows that gradients go to, and who computes them; see `Updater`."""
        self._copy, self._gradients, self._config = copy, gradients, config
        self._on_groups, self._on_products, self._on_losses = on_groups, on_products, on_losses
        self._buffers = Buffers()
        self._team, self._data_parallel = team, data_parallel

    @property
    def listened_to(self) -> bool:
        """Whether anyone listens to group gradients or their products."""
        return self._on_groups is not None or self._on_products is not None

    def measured(
        self,
        groups: Sequence[Indices],
        stacks: FrameStacks,
        data: Minibatch,
        *,
        shuffled: bool,
        step: int,
        by_loss: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Computes a batch's gradient group by group and hands the groups' gradients to the listeners.

        Args:
            groups: Observations of each group, equally many.
            stacks: Observations of the iteration.
            data: What the loss needs of each.
            shuffled: Whether the groups are random observations instead of whole environments.
            step: Optimizer steps that were taken before on these rollouts.
            by_loss: Whether to tell the losses apart for their listener: a second backward pass, of the policy's loss.
                What is returned does not depend on it.

        Returns:
            This learner's part of the batch's mean statistics [len(STATISTICS)], whose sum over learners is that mean;
            and the batch's mean gradient [parameters], the network's own.
        """
        mine = groups[self._data_parallel.share(len(groups))]
        rows = self._gradients.rows[: len(mine)]
        policy = self._buffers("policy", *rows.shape, device=rows.device) if by_loss and self._on_losses else None
        statistics = len(mine) / len(groups) * self.of_parts(mine, stacks, data, policy)
        columns = self._data_parallel.columns(rows, len(groups))
        split = GroupSplit(observations_per_group=len(groups[0]), shuffled=shuffled, step=step)
        if policy is not None and self._on_losses is not None:
            both = products_of_both(columns, self._data_parallel.columns(policy, len(groups)), self._team)
            self._on_losses(_by_loss(both), split)
        self._hand_out(columns, split)
        return statistics, self._gradients.put(self._data_parallel.joined(columns[0], rows.shape[1]))

    def unmeasured(self, batch: Indices, stacks: FrameStacks, data: Minibatch) -> tuple[Tensor, Tensor]:
        """Computes a batch's gradient in whatever parts are fastest. Arguments and results as of `measured`."""
        own = batch[self._data_parallel.share(len(batch))]
        parts = np.split(own, equal_parts(len(own), self._team.size)) if len(own) else []
        weight = len(own) / len(batch)
        statistics = weight * self.of_parts(parts, stacks, data)
        rows = self._gradients.rows[: len(parts)]
        mean = mean_rows_(rows, self._team) if len(rows) else self._gradients.rows[0].zero_()
        mean = mean if weight == 1 else mean.mul_(weight)
        return statistics, self._gradients.put(self._data_parallel.add_up(mean))

    def of_parts(
        self, parts: Sequence[Indices], stacks: FrameStacks, data: Minibatch, policy: Tensor | None = None
    ) -> Tensor:
        """Leaves the gradient of each part's mean loss in its row of `FlatGradients`; the team shares the parts.

        `policy` [parts, parameters] receives those of the policy's loss alone. Returns the mean statistics over all
        parts [len(STATISTICS)]; zeros where there are no parts.
        """
        if not parts:
            return torch.zeros(len(STATISTICS), device=self._gradients.rows.device)
        workers = min(self._team.size, len(parts))
        policy_rows = [] if policy is None else [by_parameter(row, self._copy.parameters) for row in policy]

        def work(worker: int) -> Tensor:
            rows = range(worker, len(parts), workers)
            together = [rows] if self._copy.takes_parts else [[row] for row in rows]
            return torch.stack([self._of_rows(parts, some, stacks, data, policy_rows) for some in together]).sum(0)

        return torch.stack(self._team.map(work, range(workers))).sum(0) / sum(map(len, parts))

    def _hand_out(self, columns: Tensor, split: GroupSplit) -> None:
        """Calls the listeners, and leaves the mean of all groups in the first row."""
        if self._on_groups is not None:
            self._on_groups(columns, split)
        if self._on_products is not None:
            self._on_products(products_and_mean_(columns, self._team), split)
        else:
            mean_rows_(columns, self._team)

    def _of_rows(
        self,
        parts: Sequence[Indices],
        rows: Sequence[int],
        stacks: FrameStacks,
        data: Minibatch,
        policy_rows: Sequence[Row],
    ) -> Tensor:
        """Computes the gradients of those parts in one pass, and the policy's where there are rows for them.

        Returns the statistics summed over their observations.
        """
        mine = [parts[row] for row in rows]
        where = torch.from_numpy(np.concatenate(mine)).to(self._gradients.rows.device)
        outputs = self._copy.evaluate(stacks, where)
        batch = Minibatch(*(column[where] for column in data))
        loss = actor_critic_loss(outputs.logits, outputs.values, batch, self._config)
        sizes, again = [len(part) for part in mine], bool(policy_rows)
        outputs.differentiate(loss.total, [self._gradients.views[row] for row in rows], sizes, again=again)
        if again:
            outputs.differentiate(policy_part(loss, self._config), [policy_rows[row] for row in rows], sizes)
        return len(where) * loss.statistics()


def _by_loss(products: Tensor) -> Tensor:
    """Returns inner products by loss, as for OnLosses.

    The value's gradient is v_k = g_k - p_k, so <p_j, v_k> = <p_j, g_k> - <p_j, p_k>, and likewise <v_j, v_k>.

    Args:
        products: [2 groups, 2 groups], of the whole loss's gradients g_k, then the policy's p_k.
    """
    groups = len(products) // 2
    of_whole, of_policy = products.split(groups)
    (gg, gp), (pg, pp) = of_whole.split(groups, 1), of_policy.split(groups, 1)
    return torch.stack([torch.stack([pp, pg - pp]), torch.stack([gp - pp, gg - gp - pg + pp])])
