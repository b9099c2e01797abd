"""The loss of a frozen policy on one set of fresh rollouts: value, gradients, Hessian-vector products, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from rlgns.agents.batches import Indices
from rlgns.agents.config import AgentConfig
from rlgns.agents.loss import Minibatch, actor_critic_loss
from rlgns.agents.network import ActorCritic
from rlgns.agents.rollout import FrameStacks, Rollout
from rlgns.agents.training_data import make_training_data
from rlgns.noise.offline.hessian import hessian_vector_products


@final
class FrozenLoss:
    """The training loss as a function of the parameters, by groups of environments.

    The old policy's log-probabilities and values are computed again in float32. Those recorded under bfloat16 differ in
    the third digit, but the probability ratio must be 1 at the frozen parameters.
    """

    def __init__(
        self,
        network: ActorCritic,
        config: AgentConfig,
        rollouts: Sequence[Rollout],
        environments_by_group: Sequence[Sequence[int]],
    ) -> None:
        """Puts the rollouts on the network's device.

        Args:
            network: The frozen policy; its parameters require gradients and are not changed.
            config: Settings of the loss.
            rollouts: Joined side by side, [time, env].
            environments_by_group: Environments of each group; groups are equally large and disjoint.
        """
        self.parameters = list(network.parameters())
        self._network, self._config = network, config
        self._device = self.parameters[0].device
        self._stacks = FrameStacks.of(rollouts, self._device, network.block)
        steps = np.arange(self._stacks.num_steps, dtype=np.int64)[:, None] * self._stacks.num_envs
        self._groups: list[Indices] = [(steps + np.array(group)).reshape(-1) for group in environments_by_group]
        self.observations_per_group = len(self._groups[0])
        data, _ = make_training_data(rollouts, config)
        data = Minibatch(*(column.to(self._device) for column in data))
        self._data = [self._in_float32(self._rows(data, group), group) for group in range(len(self._groups))]
        self._names = [name for name, _ in network.named_parameters()]

    def gradients(self, groups: Sequence[int]) -> Tensor:
        """Returns the gradient of each group's mean loss, float32 [groups, parameters]."""
        rows = [torch.autograd.grad(self._loss(group), self.parameters) for group in groups]
        return torch.stack([torch.cat([part.reshape(-1) for part in row]) for row in rows])

    def hessian_product(self, groups: Sequence[int], vectors: Tensor) -> Tensor:
        """Returns the Hessian of the groups' mean loss times each vector, float32 [vectors, parameters]."""
        return hessian_vector_products(
            [lambda group=group: self._loss(group) for group in groups],  # type: ignore[misc]
            self.parameters,
            vectors,
        )

    @torch.no_grad()
    def value(self, groups: Sequence[int], step: Tensor | None = None) -> float:
        """Returns the groups' mean loss at the frozen parameters plus `step` [parameters]."""
        moved = None if step is None else self._moved(step)
        return float(np.mean([float(self._loss(group, moved)) for group in groups]))

    def _moved(self, step: Tensor) -> dict[str, Tensor]:
        parts = step.split([parameter.numel() for parameter in self.parameters])
        return {
            name: parameter + part.view_as(parameter)
            for name, parameter, part in zip(self._names, self.parameters, parts, strict=True)
        }

    def _loss(self, group: int, moved: dict[str, Tensor] | None = None) -> Tensor:
        observations = self._stacks.gather(torch.from_numpy(self._groups[group]).to(self._device))
        network = self._network
        logits, values = network(observations) if moved is None else functional_call(network, moved, (observations,))
        return actor_critic_loss(logits, values, self._data[group], self._config).total

    def _rows(self, data: Minibatch, group: int) -> Minibatch:
        where = torch.from_numpy(self._groups[group]).to(self._device)
        return Minibatch(*(column[where] for column in data))

    @torch.no_grad()
    def _in_float32(self, data: Minibatch, group: int) -> Minibatch:
        observations = self._stacks.gather(torch.from_numpy(self._groups[group]).to(self._device))
        logits, values = self._network(observations)
        log_probs = torch.log_softmax(logits, dim=-1).gather(-1, data.actions[:, None]).squeeze(-1)
        return data._replace(log_probs=log_probs, values=values)
