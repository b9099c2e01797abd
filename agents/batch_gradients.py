"""Gradients of batches, group by group where they are measured, shared between threads and processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from rlgns.agents.buffers import Buffers
from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.data_parallel import DataParallel
from rlgns.agents.compute.flat_gradients import FlatGradients, by_parameter, equal_parts, mean_rows_
from rlgns.agents.compute.forward_backward import Row
from rlgns.agents.compute.products import products_and_mean_, products_of_both
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.factored_gradients import FactoredGradients
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


@dataclass(frozen=True, kw_only=True, slots=True)
class StepGradient:
    """The gradient of one step's batch, and what was measured on the way; of several learners each has its part."""

    statistics: Tensor
    """[len(STATISTICS)]; the sum over learners is the batch's mean."""
    gradient: Tensor
    """[parameters], the batch's mean gradient on every learner: the network's own."""
    products: Tensor | None = None
    """Float64 [groups, groups], inner products of the groups' mean gradients over this learner's columns.

    They are computed along with the batch's mean gradient, where they cost next to nothing.
    """
    by_loss: Tensor | None = None
    """Float64 [2, 2, groups, groups], the same by loss: entry (l, m, j, k) is <g_j of loss l, g_k of loss m>.

    Loss 0 is the policy's with the entropy bonus, loss 1 the value's, both with their coefficients: they add up to the
    whole loss.
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
        team: Team,
        data_parallel: DataParallel,
        factored: FactoredGradients | None = None,
    ) -> None:
        """Takes the network's copy, the rows that gradients go to, and who computes them; see `Updater`.

        `factored` computes measured batches instead of rows. It needs a single learner, and no listener to the rows.
        """
        self._copy, self._gradients, self._config = copy, gradients, config
        self._on_groups, self._factored = on_groups, factored
        self._buffers = Buffers()
        self._team, self._data_parallel = team, data_parallel

    def measured(
        self,
        groups: Sequence[Tensor],
        stacks: FrameStacks,
        data: Minibatch,
        split: GroupSplit,
        *,
        products: bool = True,
        by_loss: bool = False,
    ) -> StepGradient:
        """Computes a batch's gradient group by group, at one parameter vector.

        Args:
            groups: Observations of each group, equally many, on the device.
            stacks: Observations of the iteration.
            data: What the loss needs of each.
            split: How the batch was split, for the listener to the groups' gradients.
            products: Whether inner products are wanted.
            by_loss: Whether they are wanted by loss too: a second backward pass, of the policy's loss. The gradient
                does not depend on it.
        """
        if self._factored is not None:
            statistics, of_groups, of_both = self._factored.measured(groups, stacks, data, by_loss=by_loss)
            return StepGradient(
                statistics=statistics,
                gradient=self._gradients.rows[0],
                products=of_groups,
                by_loss=None if of_both is None else _by_loss(of_both),
            )
        mine = groups[self._data_parallel.share(len(groups))]
        rows = self._gradients.rows[: len(mine)]
        policy = self._buffers("policy", *rows.shape, device=rows.device) if by_loss else None
        statistics = len(mine) / len(groups) * self.of_parts(mine, stacks, data, policy)
        columns, both, found = self._data_parallel.columns(rows, len(groups)), None, None
        if policy is not None:
            both = _by_loss(products_of_both(columns, self._data_parallel.columns(policy, len(groups)), self._team))
        if self._on_groups is not None:
            self._on_groups(columns, split)
        if products:
            found = products_and_mean_(columns, self._team)
        else:
            mean_rows_(columns, self._team)
        gradient = self._gradients.put(self._data_parallel.joined(columns[0], rows.shape[1]))
        return StepGradient(statistics=statistics, gradient=gradient, products=found, by_loss=both)

    def unmeasured(self, batch: Tensor, stacks: FrameStacks, data: Minibatch) -> StepGradient:
        """Computes a batch's gradient in whatever parts are fastest. `batch`: its observations, on the device."""
        own = batch[self._data_parallel.share(len(batch))]
        parts = own.chunk(equal_parts(len(own), self._team.size)) if len(own) else []
        weight = len(own) / len(batch)
        statistics = weight * self.of_parts(parts, stacks, data)
        rows = self._gradients.rows[: len(parts)]
        mean = mean_rows_(rows, self._team) if len(rows) else self._gradients.rows[0].zero_()
        mean = mean if weight == 1 else mean.mul_(weight)
        gradient = self._gradients.put(self._data_parallel.add_up(mean))
        return StepGradient(statistics=statistics, gradient=gradient)

    def of_parts(
        self, parts: Sequence[Tensor], stacks: FrameStacks, data: Minibatch, policy: Tensor | None = None
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

    def _of_rows(
        self,
        parts: Sequence[Tensor],
        rows: Sequence[int],
        stacks: FrameStacks,
        data: Minibatch,
        policy_rows: Sequence[Row],
    ) -> Tensor:
        """Computes the gradients of those parts in one pass, and the policy's where there are rows for them.

        Returns the statistics summed over their observations.
        """
        mine = [parts[row] for row in rows]
        where = mine[0] if len(mine) == 1 else torch.cat(mine)
        outputs = self._copy.evaluate(stacks, where)
        batch = Minibatch(*(column[where] for column in data))
        loss = actor_critic_loss(outputs.logits, outputs.values, batch, self._config)
        sizes, again = [len(part) for part in mine], bool(policy_rows)
        outputs.differentiate(loss.total, [self._gradients.views[row] for row in rows], sizes, again=again)
        if again:
            outputs.differentiate(policy_part(loss, self._config), [policy_rows[row] for row in rows], sizes)
        return len(where) * loss.statistics()


def _by_loss(products: Tensor) -> Tensor:
    """Returns inner products by loss, as in StepGradient.

    The value's gradient is v_k = g_k - p_k, so <p_j, v_k> = <p_j, g_k> - <p_j, p_k>, and likewise <v_j, v_k>.

    Args:
        products: [2 groups, 2 groups], of the whole loss's gradients g_k, then the policy's p_k.
    """
    groups = len(products) // 2
    of_whole, of_policy = products.split(groups)
    (gg, gp), (pg, pp) = of_whole.split(groups, 1), of_policy.split(groups, 1)
    return torch.stack([torch.stack([pp, pg - pp]), torch.stack([gp - pp, gg - gp - pg + pp])])
