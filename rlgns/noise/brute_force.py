"""The noise scale of a frozen policy from so many observations that little doubt is left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

NORMAL_95 = 1.959964


@dataclass(frozen=True, kw_only=True, slots=True)
class BruteForceResult:
    """What is true of the frozen policy, with standard errors over environments."""

    grad_sq: float
    """Unbiased |G|^2."""
    grad_sq_error: float
    trace: float
    """Unbiased tr(Sigma) per observation, rollouts of whole environments as the unit."""
    trace_error: float
    noise_scale: float
    """trace / grad_sq, observations."""
    noise_scale_low: float
    """95 % interval, formed on |G|^2 / trace, whose noise is the more symmetric; `high` may be infinite."""
    noise_scale_high: float
    observations: int
    environments: int


@final
class BruteForce:
    """Sums one gradient per environment over everything that it plays at one parameter vector.

    |G|^2 is the mean inner product of the mean gradients of two different environments: what is common to observations
    of one environment, however far apart in time, never meets itself. E|g|^2 = |G|^2 + trace / T of a rollout of T
    observations then gives the trace. Both are unbiased. Errors by leaving out one environment at a time (jackknife).
    """

    def __init__(self, *, environments: int, parameters: int, rollout_steps: int) -> None:
        """Allocates float32 [environments, parameters]."""
        self._sums = torch.zeros(environments, parameters)
        self._sq_norms = np.zeros(environments)
        self._rollouts = np.zeros(environments, np.int64)
        self._steps = rollout_steps

    def add(self, environments: NDArray[np.int64], gradients: torch.Tensor) -> None:
        """Adds one rollout of each of some environments [k] by its mean gradient [k, parameters]."""
        rows = gradients.detach().to("cpu", torch.float32)
        self._sq_norms[environments] += torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).square().numpy()
        self._rollouts[environments] += 1
        for row, environment in zip(rows, environments, strict=True):
            self._sums[environment] += row

    def result(self) -> BruteForceResult:
        """Returns what the sums say. Every environment must have played equally often, at least three of them."""
        count = len(self._rollouts)
        assert count >= 3
        assert self._rollouts.min() == self._rollouts.max() > 0
        means = self._sums / float(self._rollouts[0])
        total = means.sum(0, dtype=torch.float64)
        own = torch.linalg.vector_norm(means, dim=1, dtype=torch.float64).square().numpy()
        with_total = np.array([float(row.to(torch.float64) @ total) for row in means])
        sq_norms = self._sq_norms / self._rollouts
        whole = float(total @ total)

        grad_sq = (whole - own.sum()) / (count * (count - 1))
        trace = self._steps * (sq_norms.mean() - grad_sq)
        left_grad_sq = (whole - 2 * with_total + own - (own.sum() - own)) / ((count - 1) * (count - 2))
        left_trace = self._steps * ((sq_norms.sum() - sq_norms) / (count - 1) - left_grad_sq)
        inverse, inverse_error = float(grad_sq / trace), _jackknife(left_grad_sq / left_trace)
        low, high = inverse - NORMAL_95 * inverse_error, inverse + NORMAL_95 * inverse_error
        return BruteForceResult(
            grad_sq=float(grad_sq),
            grad_sq_error=_jackknife(left_grad_sq),
            trace=float(trace),
            trace_error=_jackknife(left_trace),
            noise_scale=1 / inverse if inverse > 0 else math.nan,
            noise_scale_low=1 / high if high > 0 else math.nan,
            noise_scale_high=1 / low if low > 0 else math.inf,
            observations=int(self._rollouts.sum()) * self._steps,
            environments=count,
        )


def _jackknife(left_out: NDArray[np.float64]) -> float:
    """Standard error from the estimates [n] that leave out one unit each."""
    n = len(left_out)
    return float(math.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
