"""The network in the precision of its passes, converted once per step instead of once per pass."""

from __future__ import annotations

import copy
from typing import final

import torch
from torch import Tensor

from rlgns.agents.compute.chain_pass import ChainPass
from rlgns.agents.compute.convolutions import Frames, NativeConvolutions
from rlgns.agents.compute.forward_backward import AutogradPass, KernelPass, NetworkPass
from rlgns.agents.compute.precision import autocast
from rlgns.agents.compute.team import Team, cuts
from rlgns.agents.network import ActorCritic
from rlgns.agents.rollout import FrameStacks


@final
class ComputeCopy:
    """A copy of a network that any thread may differentiate, beside the float32 master weights that are trained.

    Micikevicius et al. 2018, "Mixed Precision Training", arXiv:1710.03740, section 3.1. Autocast makes such copies in
    every pass of every thread, and a float32 copy of every gradient, which is most of a pass's traffic to memory. Where
    the compiled kernels are available they run the bfloat16 passes; elsewhere results equal autocast's to the last bit.
    """

    def __init__(self, master: ActorCritic, precision: str, *, in_one_pass: bool | None = None) -> None:
        """Copies the network.

        Args:
            master: Is only read.
            precision: `bfloat16` converts the layers of the network's chain but the first, whose weights the network
                divides and converts itself; a network that is no chain runs under autocast. `float32` converts
                nothing, and the copy shares all weights.
            in_one_pass: Whether torch's operations evaluate all parts of a batch together where the network is a chain.
                None: on an accelerator, where a pass takes about as long for many observations as for few. A processor
                takes as long either way.
        """
        self.network = copy.deepcopy(master)
        chain = self.network.chain
        by_kernels = precision == "bfloat16" and NativeConvolutions.fit(master)
        self._autocast = precision if chain is None else "float32"
        if precision == "bfloat16" and chain is not None:
            for layer in () if by_kernels else chain.convolutions[1:]:
                layer.to(torch.bfloat16)
            chain.hidden.to(torch.bfloat16)
        self.parameters = list(self.network.parameters())
        """In the master's order."""
        self._converted: list[tuple[Tensor, Tensor]] = []
        for mine, theirs in zip(self.parameters, master.parameters(), strict=True):
            if mine.dtype == theirs.dtype:
                mine.data = theirs.data
            else:
                self._converted.append((mine.data, theirs.data))
        self._convolutions = NativeConvolutions(self.network) if by_kernels else None
        self._on_accelerator = self.parameters[0].device.type != "cpu"
        in_one_pass = self._on_accelerator if in_one_pass is None else in_one_pass
        self.takes_one_pass = chain is not None and not by_kernels
        """Whether `in_one_pass` may be set."""
        self.in_one_pass = in_one_pass and self.takes_one_pass
        """Whether `evaluate` returns a ChainPass."""
        with torch.no_grad():
            self._heads = self.network.joined_heads()

    @property
    def hidden_weight(self) -> Tensor:
        """Of a chain's hidden layer, in the type of the passes."""
        assert self.network.chain is not None
        return self.network.chain.hidden.weight

    @property
    def block(self) -> int:
        """Side of the blocks of pixels that `evaluate` wants stacks in (`FrameStacks`)."""
        return self.network.block if self._convolutions is None else 1

    @property
    def takes_parts(self) -> bool:
        """Whether parts of one evaluated batch can be differentiated separately."""
        return self._convolutions is not None or self.in_one_pass

    def evaluate(self, stacks: FrameStacks, where: Tensor) -> NetworkPass:
        """Evaluates some observations, int64 [batch] of `step * num_envs + env`."""
        if self.in_one_pass:
            return ChainPass(self.network, self._heads, stacks.gather(where))
        if self._convolutions is None:
            with autocast(where.device, self._autocast):
                return AutogradPass(self.network, stacks.gather(where))
        frames = Frames(stacks.frames, stacks.missing, stacks.num_envs)
        return KernelPass(self.network, self._convolutions, self._heads, frames, where)

    def refresh(self, team: Team) -> None:
        """Converts the master's current weights; the team's threads share the work."""

        def work(parts: range) -> None:
            for number, (mine, theirs) in enumerate(self._converted):
                for cut in cuts(theirs.numel(), number, parts):
                    mine.view(-1)[cut].copy_(theirs.view(-1)[cut])
            if self._convolutions is not None and 0 in parts:
                self._convolutions.refresh()

        if self._converted and self._on_accelerator:
            torch._foreach_copy_([mine for mine, _ in self._converted], [theirs for _, theirs in self._converted])
        elif self._converted:
            team.map_parts(work)
        with torch.no_grad():  # in place: a recorded step reads them where they are
            torch._foreach_copy_(self._heads, self.network.joined_heads())
