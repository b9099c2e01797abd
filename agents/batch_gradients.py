"""Gradients of batches, group by group where they are measured, shared between threads and processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from rlgns.agents.batches import Indices
from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.data_parallel import DataParallel
from rlgns.agents.compute.flat_gradients import FlatGradients, equal_parts, mean_rows_
from rlgns.agents.compute.products import products_and_mean_
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.loss import STATISTICS, Minibatch, actor_critic_loss
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
        team: Team,
        data_parallel: DataParallel,
    ) -> None:
        """Takes the network's copy, the rows that gradients go to, and who computes them; see `Updater`."""
        self._copy, self._gradients, self._config = copy, gradients, config
        self._on_groups, self._on_products = on_groups, on_products
        self._team, self._data_parallel = team, data_parallel

    @property
    def listened_to(self) -> bool:
        """Whether anyone listens to group gradients or their products."""
        return self._on_groups is not None or self._on_products is not None

    def measured(
        self, groups: Sequence[Indices], stacks: FrameStacks, data: Minibatch, *, shuffled: bool, step: int
    ) -> tuple[Tensor, Tensor]:
        """Computes a batch's gradient group by group and hands the groups' gradients to the listeners.

        Args:
            groups: Observations of each group, equally many.
            stacks: Observations of the iteration.
            data: What the loss needs of each.
            shuffled: Whether the groups are random observations instead of whole environments.
            step: Optimizer steps that were taken before on these rollouts.

        Returns:
            This learner's part of the batch's mean statistics [len(STATISTICS)], whose sum over learners is that mean;
            and the batch's mean gradient [parameters], the network's own.
        """
        mine = groups[self._data_parallel.share(len(groups))]
        statistics = len(mine) / len(groups) * self.of_parts(mine, stacks, data)
        rows = self._gradients.rows[: len(mine)]
        columns = self._data_parallel.columns(rows, len(groups))
        self._hand_out(columns, GroupSplit(observations_per_group=len(groups[0]), shuffled=shuffled, step=step))
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

    def of_parts(self, parts: Sequence[Indices], stacks: FrameStacks, data: Minibatch) -> Tensor:
        """Leaves the gradient of each part's mean loss in its row of `FlatGradients`; the team shares the parts.

        Returns the mean statistics over all parts [len(STATISTICS)]; zeros where there are no parts.
        """
        if not parts:
            return torch.zeros(len(STATISTICS), device=self._gradients.rows.device)
        workers = min(self._team.size, len(parts))

        def work(worker: int) -> Tensor:
            rows = range(worker, len(parts), workers)
            together = [rows] if self._copy.takes_parts else [[row] for row in rows]
            return torch.stack([self._of_rows(parts, some, stacks, data) for some in together]).sum(0)

        return torch.stack(self._team.map(work, range(workers))).sum(0) / sum(map(len, parts))

    def _hand_out(self, columns: Tensor, split: GroupSplit) -> None:
        """Calls the listeners, and leaves the mean of all groups in the first row."""
        if self._on_groups is not None:
            self._on_groups(columns, split)
        if self._on_products is not None:
            self._on_products(products_and_mean_(columns, self._team), split)
        else:
            mean_rows_(columns, self._team)

    def _of_rows(self, parts: Sequence[Indices], rows: Sequence[int], stacks: FrameStacks, data: Minibatch) -> Tensor:
        """Computes the gradients of those parts in one pass. Returns the statistics summed over their observations."""
        mine = [parts[row] for row in rows]
        where = torch.from_numpy(np.concatenate(mine)).to(self._gradients.rows.device)
        outputs = self._copy.evaluate(stacks, where)
        batch = Minibatch(*(column[where] for column in data))
        loss = actor_critic_loss(outputs.logits, outputs.values, batch, self._config)
        outputs.differentiate(loss.total, [self._gradients.views[row] for row in rows], [len(part) for part in mine])
        return len(where) * loss.statistics()
