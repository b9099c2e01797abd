"""Gradients of a measured batch without a row of the hidden layer's weights for each group.

Those are 95 % of the Nature network's weights, 6.4 MB a group.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from rlgns.agents.buffers import Buffers
from rlgns.agents.compute.chain_pass import ChainPass
from rlgns.agents.compute.compute_copy import ComputeCopy
from rlgns.agents.compute.factored import factored_products, matrix_product
from rlgns.agents.compute.flat_gradients import FlatGradients, by_parameter, elements
from rlgns.agents.compute.products import products_and_mean_, products_of_both
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.loss import Minibatch, actor_critic_loss, policy_part
from rlgns.agents.rollout import FrameStacks


@final
class FactoredGradients:
    """Computes a batch's mean gradient and the inner products of its groups' gradients; each thread in one pass."""

    def __init__(
        self, copy: ComputeCopy, gradients: FlatGradients, config: AgentConfig, *, groups: int, team: Team
    ) -> None:
        """Allocates rows without the hidden layer's weights.

        Args:
            copy: Of a network that is a chain, evaluated in one pass.
            gradients: Its first row gets the mean gradient.
            config: Of the loss.
            groups: At most.
            team: Threads that share the work.
        """
        assert copy.in_one_pass
        assert copy.network.chain is not None
        self._copy, self._gradients, self._config, self._team = copy, gradients, config, team
        factored = copy.network.chain.hidden.weight
        self._others = [parameter for parameter in copy.parameters if parameter is not factored]
        whole = gradients.rows[0]
        self._rows = whole.new_zeros(groups, len(whole) - factored.numel())
        self._buffers = Buffers()
        views = dict(zip(map(id, copy.parameters), gradients.views[0], strict=True))
        self._mean_of_factored = views.pop(id(factored))
        self._mean_of_others = list(views.values())

    def measured(
        self, groups: Sequence[Tensor], stacks: FrameStacks, data: Minibatch, *, by_loss: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Leaves the batch's mean gradient in the first row of `FlatGradients`.

        Args:
            groups: Observations of each group, equally many, on the device.
            stacks: Observations of the iteration.
            data: What the loss needs of each.
            by_loss: Whether inner products with the gradients of the policy's loss are wanted too.

        Returns:
            The loss's statistics; float64 inner products of the groups' gradients [groups, groups]; and, if wanted,
            those of the whole loss's gradients, then of the policy's [2 groups, 2 groups].
        """
        count, team, rows = len(groups), self._team, self._rows[: len(groups)]
        policy_rows = self._buffers("policy", *rows.shape, dtype=rows.dtype, device=rows.device) if by_loss else None
        workers = min(team.size, count)
        edges = [count * worker // workers for worker in range(workers + 1)]
        shares = [slice(*pair) for pair in itertools.pairwise(edges)]

        def work(share: slice) -> _Factors:
            of_policy = None if policy_rows is None else policy_rows[share]
            return self._of_groups(groups[share], stacks, data, rows[share], of_policy)

        done = team.map(work, shares)
        statistics = torch.stack([part.statistics for part in done]).sum(0) / sum(map(len, groups))
        features, whole = _joined([part.features for part in done]), _joined([part.whole for part in done])
        both = None
        if policy_rows is not None:
            policy = _joined([part.policy for part in done if part.policy is not None])
            both = products_of_both(rows, policy_rows, team)
            both += factored_products([whole, policy], features, count, team)
        products = products_and_mean_(rows, team)  # apart, so that no bit of them depends on `by_loss`
        products += factored_products([whole], features, count, team)
        torch._foreach_copy_(self._mean_of_others, by_parameter(rows[0], self._others))

        def mean(parts: range) -> None:
            mine = elements(whole.shape[1], parts)
            torch.mul(matrix_product(whole[:, mine].T, features), 1 / count, out=self._mean_of_factored[mine])

        team.map_parts(mean)
        return statistics, products, both

    def _of_groups(
        self, groups: Sequence[Tensor], stacks: FrameStacks, data: Minibatch, rows: Tensor, policy_rows: Tensor | None
    ) -> _Factors:
        """Computes some groups' gradients in one pass into their rows; the policy's too where it has rows."""
        sizes, where = [len(group) for group in groups], _joined(groups)
        outputs = self._copy.evaluate(stacks, where)
        assert isinstance(outputs, ChainPass)
        batch = Minibatch(*(column[where] for column in data))
        loss = actor_critic_loss(outputs.logits, outputs.values, batch, self._config)
        again, policy = policy_rows is not None, None
        whole = outputs.differentiate_factored(loss.total, self._views(rows), sizes, again=again)
        if policy_rows is not None:
            policy = outputs.differentiate_factored(policy_part(loss, self._config), self._views(policy_rows), sizes)
        return _Factors(len(where) * loss.statistics(), outputs.features, whole, policy)

    def _views(self, rows: Tensor) -> list[list[Tensor]]:
        return [by_parameter(row, self._others) for row in rows]


class _Factors(NamedTuple):
    """Of some groups: the statistics' sums; the hidden layer's inputs, and gradients by its outputs, of both losses."""

    statistics: Tensor
    features: Tensor
    whole: Tensor
    policy: Tensor | None


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
