"""A step's gradients as sums per group: their squared norms and inner products, and the sum of them all."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rlgns.gram import inner
from rlgns.noise.sharding import local

Sums = dict[torch.nn.Parameter, Tensor]
"""Per parameter that had a gradient, its sum weighted by observations, float32 or wider."""

SPARSE = "sparse gradients cannot be measured: use sparse=False"


@dataclass(kw_only=True, slots=True)
class GroupSums:
    """The groups of one step, one after another: two gradients in memory, whatever their number."""

    parts_per_group: int
    """Backward passes of a group."""
    group: Sums = field(default_factory=dict)
    """Of the group that is not complete."""
    total: Sums = field(default_factory=dict)
    """Of all complete groups."""
    parts: int = 0
    group_observations: float = 0.0
    observations: list[float] = field(default_factory=list)
    """Per complete group, n_k."""
    # Per group, on the parameters' device so that no step waits for it: |sum|^2, and <sum, sums of the groups before>.
    squares: list[Tensor] = field(default_factory=list)
    crosses: list[Tensor] = field(default_factory=list)

    def take(self, model: torch.nn.Module, observations: float) -> None:
        """Moves a part's gradients, of the mean over so many observations, from the model into its group.

        Raises:
            ValueError: A sparse gradient.
        """
        self.parts += 1
        self.group_observations += observations
        for parameter in model.parameters():
            gradient, parameter.grad = parameter.grad, None
            if gradient is not None:
                if gradient.is_sparse:
                    raise ValueError(SPARSE)
                # Half precision would overflow in the sum.
                wide = torch.promote_types(gradient.dtype, torch.float32)
                weighted = gradient.detach().to(wide) * observations
                before = self.group.get(parameter)
                self.group[parameter] = weighted if before is None else before.add_(weighted)
        if self.parts % self.parts_per_group == 0:
            self.close()

    def close(self) -> None:
        """Adds the complete group to the total, after its squared norm and its inner product with the total."""
        device = local(next(iter(self.group.values()))).device if self.group else torch.device("cpu")
        square = torch.zeros((), dtype=torch.float64, device=device)
        cross = torch.zeros((), dtype=torch.float64, device=device)
        for parameter, gradient in self.group.items():
            square += inner(local(gradient), local(gradient)).to(device)
            total = self.total.get(parameter)
            if total is None:
                self.total[parameter] = gradient
            else:
                cross += inner(local(gradient), local(total)).to(device)
                total.add_(gradient)
        self.squares.append(square)
        self.crosses.append(cross)
        self.observations.append(self.group_observations)
        self.group = {}
        self.group_observations = 0.0


def sum_of_products(total: Sums, squares: list[float], crosses: list[float] | None) -> float:
    """Returns the sum over pairs of different groups of their sums' inner products; NaN where one was not finite.

    Args:
        total: Sums of all groups.
        squares: Per group, |sum|^2.
        crosses: Per group, <sum, sums of the groups before>; None: where not all groups were in this process.
    """
    if crosses is not None:  # group by group: no difference of two large numbers
        terms = [2 * cross for cross in crosses]
    else:
        terms = [float(inner(summed, summed)) for summed in total.values()] + [-square for square in squares]
    return math.fsum(terms) if all(map(math.isfinite, terms)) else math.nan
