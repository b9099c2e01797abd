"""Adam whose step is shared between a team's threads: each takes slices of the long parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor

from rlgns.agents.compute.team import Team, cuts

_STATE = ("exp_avg", "exp_avg_sq")


@final
class SlicedAdam(torch.optim.Adam):
    """`torch.optim.Adam`, fused, with the same state and result; all threads share a step's one pass over memory.

    A step moves four vectors as long as the network through memory; on one thread, all others would wait for it.
    Parameters and gradients must be contiguous.
    """

    def __init__(self, parameters: Sequence[Tensor], *, team: Team, learning_rate: float, epsilon: float) -> None:
        """Takes the parameters that it trains, and the team that shares the work."""
        super().__init__(parameters, lr=learning_rate, eps=epsilon, fused=True)
        self._team = team

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Takes a step, as `torch.optim.Adam` does."""
        (group,) = self.param_groups
        parameters = group["params"]
        on_cpu = all(parameter.device.type == "cpu" for parameter in parameters)
        # torch creates the state in the first step
        if closure is not None or not on_cpu or any(not self.state[p] for p in parameters):
            return super().step(closure)

        def work(parts: range) -> None:
            vectors: list[list[Tensor]] = [[] for _ in range(2 + len(_STATE))]
            steps = []
            for number, parameter in enumerate(parameters):
                state = self.state[parameter]
                for cut in cuts(parameter.numel(), number, parts):
                    whole = (parameter.data, parameter.grad, *(state[name] for name in _STATE))
                    for slices, tensor in zip(vectors, whole, strict=True):
                        slices.append(tensor.view(-1)[cut])
                    steps.append(state["step"] + 1)
            values, gradients, first, second = vectors
            torch._fused_adam_(
                values,
                gradients,
                first,
                second,
                [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

        with torch.no_grad():
            self._team.map_parts(work)
            torch._foreach_add_([self.state[parameter]["step"] for parameter in parameters], 1)
        return None
