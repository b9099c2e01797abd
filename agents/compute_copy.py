"""The network in the precision of its passes, converted once a step instead of once a pass."""

from __future__ import annotations

import copy
from typing import final

import torch
from torch import Tensor, nn

from agents.network import ActorCritic
from agents.team import Team, cuts


@final
class ComputeCopy:
    """A copy of a network that any thread may differentiate, beside the float32 master weights that are trained.

    Micikevicius et al. 2018, "Mixed Precision Training", arXiv:1710.03740, section 3.1. Autocast makes such copies in
    every pass of every thread, and a float32 copy of every gradient; these are most of what a pass moves through memory
    beyond its caches. The values are the same to the last bit.
    """

    def __init__(self, master: ActorCritic, precision: str) -> None:
        """Copies the network.

        Args:
            master: Is read only.
            precision: `bfloat16`: of the body's layers but the first, whose weights the network itself divides and
                converts; else nothing is converted, and the copy shares all weights.
        """
        self.network = copy.deepcopy(master)
        if precision == "bfloat16":
            layers = [layer for layer in self.network.body if isinstance(layer, nn.Conv2d | nn.Linear)]
            for layer in layers[1:]:
                layer.to(torch.bfloat16)
        self.parameters = list(self.network.parameters())
        """In the master's order."""
        self._converted: list[tuple[Tensor, Tensor]] = []
        for mine, theirs in zip(self.parameters, master.parameters(), strict=True):
            if mine.dtype == theirs.dtype:
                mine.data = theirs.data
            else:
                self._converted.append((mine.data, theirs.data))

    def gradients(self, loss: Tensor) -> tuple[Tensor, ...]:
        """Differentiates a loss that the copy's outputs gave, by each of `parameters`, in its precision."""
        return torch.autograd.grad(loss, self.parameters)

    def refresh(self, team: Team) -> None:
        """Converts the master's present weights; a team's threads share the work."""

        def work(parts: range) -> None:
            for number, (mine, theirs) in enumerate(self._converted):
                for cut in cuts(theirs.numel(), number, parts):
                    mine.view(-1)[cut].copy_(theirs.view(-1)[cut])

        if self._converted:
            team.map_parts(work)
