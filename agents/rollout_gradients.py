"""Gradients over an iteration's observations before its first step, for measurements beside training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, final

import torch
from torch import Tensor

from rlgns.agents.batches import Indices
from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.data_parallel import DataParallel
from rlgns.agents.compute.flat_gradients import by_parameter
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.loss import Minibatch, actor_critic_loss
from rlgns.agents.rollout import FrameStacks

T = TypeVar("T")
R = TypeVar("R")

LOSSES = ("policy", "value", "entropy")
"""The losses whose weighted sum is minimised, each before its coefficient."""


def loss_coefficients(config: AgentConfig) -> tuple[float, float, float]:
    """Returns the weight of each of LOSSES in the whole loss."""
    return 1.0, config.value_coefficient, -config.entropy_coefficient


@final
class RolloutGradients:
    """Computes gradients over all observations of an iteration, before its first step. Training is not affected.

    Gradients are returned and never left in the parameters; no random number is drawn and no state is changed.
    """

    def __init__(
        self,
        network: ComputeCopy,
        optimizer: torch.optim.Optimizer,
        config: AgentConfig,
        *,
        stacks: FrameStacks,
        data: Minibatch,
        team: Team,
        data_parallel: DataParallel | None = None,
    ) -> None:
        """Takes what the update works with; the network's copy must hold the current weights."""
        self.num_steps, self.num_envs = stacks.num_steps, stacks.num_envs
        self.coefficients = loss_coefficients(config)
        """Weight of each of LOSSES in the whole loss."""
        self.data_parallel = data_parallel or DataParallel()
        """Learner processes that hold the same observations: a measurement's work can be shared between them."""
        self._optimizer, self._config, self._stacks, self._data = optimizer, config, stacks, data
        self._network, self._team = network, team
        self._parameters = list(optimizer.param_groups[0]["params"])
        self.device = self._parameters[0].device

    def map(self, job: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Returns job(item) of each item, in order; the update's threads share the work."""
        return self._team.map(job, items)

    def loss_gradients(self, indices: Indices, to: Tensor | None = None) -> Tensor:
        """Computes gradients of some observations' mean losses: one forward pass, a backward pass per loss.

        Args:
            indices: `step * num_envs + env`.
            to: Receives the result and is returned; None: new memory.

        Returns:
            Float32 [losses, parameters] in the order of LOSSES, before their coefficients.
        """
        where = torch.from_numpy(indices).to(self.device)
        outputs = self._network.evaluate(self._stacks, where)
        batch = Minibatch(*(column[where] for column in self._data))
        losses = actor_critic_loss(outputs.logits, outputs.values, batch, self._config)
        rows = to
        if rows is None:
            rows = torch.empty(len(LOSSES), sum(p.numel() for p in self._parameters), device=self.device)
        for number, (name, row) in enumerate(zip(LOSSES, rows, strict=True), start=1):
            views, more = by_parameter(row, self._parameters), number < len(LOSSES)
            outputs.differentiate(getattr(losses, name), [views], [len(indices)], again=more)
        return rows

    def inverse_preconditioner(self, to: Tensor | None = None) -> Tensor | None:
        """Returns what the optimizer multiplies a gradient by, without learning rate and momentum.

            Adam       1 / (sqrt(v / (1 - beta_2^t)) + epsilon)
            RMSProp    1 / (sqrt(v) + epsilon)

        v is the running mean of squared gradients (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1) as the last
        iteration left it.

        Args:
            to: Receives the result and is returned; None: new memory. Nothing else of that size is allocated.

        Returns:
            Float32 [parameters]; None before the first step.
        """
        states = [self._optimizer.state.get(parameter) for parameter in self._parameters]
        if not all(states):
            return None
        settings = self._optimizer.param_groups[0]
        row = torch.empty(sum(p.numel() for p in self._parameters), device=self.device) if to is None else to
        for state, view in zip(states, by_parameter(row, self._parameters), strict=True):
            assert state is not None
            view.copy_(state["exp_avg_sq"] if "exp_avg_sq" in state else state["square_avg"])
            if "betas" in settings:
                view.div_(1 - settings["betas"][1] ** state["step"].to(view.device, torch.float64))
        return row.sqrt_().add_(settings["eps"]).reciprocal_()


BeforeSteps = Callable[[RolloutGradients], None]
"""Called before an iteration's first step. Must not keep its argument."""
