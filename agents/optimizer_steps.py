"""The optimizer steps of an update, and what each of them reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from rlgns.agents.batch_gradients import BatchGradients, GroupSplit
from rlgns.agents.buffers import Buffers
from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.flat_gradients import clip_
from rlgns.agents.compute.step_graphs import StepGraphs
from rlgns.agents.compute.team import Team
from rlgns.agents.loss import STATISTICS, Minibatch
from rlgns.agents.rollout import FrameStacks


@dataclass(frozen=True, kw_only=True, slots=True)
class StepReport:
    """What a step reports, on the host."""

    statistics: Tensor
    """Float32 [len(STATISTICS) + 1], this learner's part: the loss's, then the gradient's norm."""
    products: Tensor | None
    """As in StepGradient."""
    by_loss: Tensor | None


@final
class OptimizerSteps:
    """Takes steps without asking for a value: what they report stays on the device until the last."""

    def __init__(
        self,
        gradients: BatchGradients,
        copy: ComputeCopy,
        optimizer: torch.optim.Optimizer,
        *,
        max_grad_norm: float,
        learners: int,
        team: Team,
        graphs: StepGraphs,
    ) -> None:
        """Takes what computes gradients, the weights' copy, and the optimizer that changes the weights."""
        self._gradients, self._copy, self._optimizer, self._team = gradients, copy, optimizer, team
        self._max_grad_norm, self._learners, self._graphs = max_grad_norm, learners, graphs
        self._buffers = Buffers()
        self._reports: list[tuple[Tensor, int, bool]] = []  # each with its groups, 0 if unmeasured; and if by loss

    def begin(self, stacks: FrameStacks, data: Minibatch) -> None:
        """Takes what the steps learn from."""
        self._stacks, self._data = stacks, data
        if self._graphs.enabled:
            state = [value for values in self._optimizer.state.values() for value in values.values()]
            rates = [group["lr"] for group in self._optimizer.param_groups]
            held = [value for value in (*state, *rates) if isinstance(value, Tensor)]  # loading a state moves them
            self._graphs.read_from([stacks.frames, stacks.missing, *data, *self._copy.parameters, *held])

    def take(
        self, batch: Tensor, sizes: Sequence[int], split: GroupSplit | None, *, products: bool, by_loss: bool
    ) -> None:
        """Takes one step.

        Args:
            batch: Its observations, group after group, on the device.
            sizes: Observations of each group.
            split: How a batch that is measured was split; None: it is not measured.
            products: Whether inner products of a measured batch are wanted.
            by_loss: Whether they are wanted by loss too.
        """
        if self._graphs.enabled:  # a recorded step reads its batch from one place
            batch = self._buffers("batch", len(batch), dtype=torch.int64, device=batch.device).copy_(batch)
        kind = (batch.data_ptr() if self._graphs.enabled else 0, tuple(sizes), split is not None, products, by_loss)
        stacks, data = self._stacks, self._data

        def step() -> Tensor:
            if split is None:
                found = self._gradients.unmeasured(batch, stacks, data)
            else:
                groups = batch.split(list(sizes))
                found = self._gradients.measured(groups, stacks, data, split, products=products, by_loss=by_loss)
            norm = clip_(found.gradient, self._max_grad_norm, self._team)
            self._optimizer.step()
            self._copy.refresh(self._team)
            measured = [part.reshape(-1) for part in (found.products, found.by_loss) if part is not None]
            return torch.cat([torch.cat([found.statistics, norm[None] / self._learners]).double(), *measured])

        report = self._graphs.take(kind, step)
        report = report.clone() if self._graphs.enabled else report
        self._reports.append((report, len(sizes) if split is not None and products else 0, by_loss))

    def finish(self) -> list[StepReport]:
        """Returns what all steps since `begin` reported: the only value that the host asks for."""
        reports, self._reports = self._reports, []
        values = iter(torch.cat([report for report, _, _ in reports]).cpu().split([len(r) for r, _, _ in reports]))
        return [_unpacked(next(values), groups, by_loss=by_loss) for _, groups, by_loss in reports]


def _unpacked(values: Tensor, groups: int, *, by_loss: bool) -> StepReport:
    head, square = len(STATISTICS) + 1, groups**2
    statistics, products, losses = values.split([head, square, len(values) - head - square])
    return StepReport(
        statistics=statistics.float(),
        products=products.view(groups, groups) if groups else None,
        by_loss=losses.view(2, 2, groups, groups) if by_loss else None,
    )
