r"""The moments of preconditioned gradients along a trial: those of P^(-1/2) g instead of g.

Adam divides a gradient by P = sqrt(v) + eps, v the average of squared gradients (Kingma and Ba 2015, arXiv:1412.6980).
In the parameters P^(1/2) theta it is plain gradient descent, and the gradients there are P^(-1/2) g (McCandlish et al.
2018, arXiv:1812.06162, appendix A.2). P is from before the step: one that has seen the batch would be correlated with
its gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from examples.tasks.problem import Problem
from examples.tasks.trial import Row, Rows, StepToCome
from rlgns.noise.moments import Moments, group_moments


@final
class PreconditionedMoments:
    """Collects the moments of the measured steps of one trial."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.by_step: dict[int, Moments] = {}
        """Finite ones."""

    def look(self, coming: StepToCome) -> None:
        """Measures the groups of a step to come, where the trial itself measures them and Adam has made a step."""
        scale = inverse_root_preconditioner(coming.optimizer) if coming.measured else None
        if scale is None:
            return
        copied = copy_of(coming.generator)
        rows = [flat_gradient(self._problem, coming.model, part, copied) for part in coming.groups]
        size = len(coming.groups[0]) * self._problem.per_draw
        moments = group_moments(torch.stack(rows) * scale, size)
        if moments.is_finite:
            self.by_step[coming.step] = moments

    def in_rows(self, rows: Rows) -> list[Row]:
        """Returns a trial's rows with their moments replaced by the means of these."""
        replaced: list[Row] = []
        since = 0
        for row in rows:
            some = [self.by_step[step] for step in range(since + 1, row["step"] + 1) if step in self.by_step]
            since = row["step"]
            means: dict[str, Any] = {"grad_sq": None, "trace": None}
            if some:
                means = {name: sum(getattr(one, name) for one in some) / len(some) for name in means}
            replaced.append({**row, **means})
        return replaced


def inverse_root_preconditioner(optimizer: torch.optim.Optimizer) -> Tensor | None:
    """Returns P^(-1/2) [parameters] of Adam; None before its first step, and for an optimizer without P."""
    parts = []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if "exp_avg_sq" not in state:
                return None
            corrected = state["exp_avg_sq"] / (1 - group["betas"][1] ** float(state["step"]))
            parts.append((corrected.sqrt() + group["eps"]).rsqrt().flatten())
    return torch.cat(parts)


def flat_gradient(problem: Problem, model: torch.nn.Module, draws: Tensor, generator: torch.Generator) -> Tensor:
    """Returns the gradient [parameters] of the mean loss over these draws; `.grad` stays as it is."""
    parameters: Sequence[Tensor] = list(model.parameters())
    gradients = torch.autograd.grad(problem.loss(model, draws, generator), parameters, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def copy_of(generator: torch.Generator) -> torch.Generator:
    """Returns a generator in the same state, apart from this one."""
    copied = torch.Generator()
    copied.set_state(generator.get_state())
    return copied
