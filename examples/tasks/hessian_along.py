r"""The Hessian-weighted noise scale at checkpoints of a trial, averaged along it: docs/notes/contest.md has the rule.

At each checkpoint G = G'HG and T = tr(H Sigma), from the gradients of some draws and the Hessian of others
(`rlgns/noise/offline/hessian.py`). With n the steps that a checkpoint stands for and q = G + T / B,

    average = (sum n T / q) / (sum n G / q)

which is the average with the weights 1 / (1 + B_noise / B), as `rlgns/critical/run_average.py` has it for B_simple.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.tasks.preconditioned import flat_gradient
from examples.tasks.problem import Problem
from examples.tasks.trial import StepToCome
from rlgns.noise.interval import UNKNOWN, fieller
from rlgns.noise.moments import moments_from_gram
from rlgns.noise.offline.hessian import hessian_vector_products

Array = NDArray[np.float64]

CHECKPOINTS, GROUPS = 8, 8
IMAGES, HESSIAN_IMAGES = 512, 2048
"""Draws of a group, and behind the Hessian."""
WINDOWS, HESSIAN_WINDOWS = 64, 256
"""The same of text, where a draw is 32 observations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Average:
    """An average along a trial, observations; NaN where not known."""

    value: float
    low: float
    high: float
    """Infinite where only the lower bound is known."""
    checkpoints: int
    """Those that count."""


def checkpoints(steps: float) -> dict[int, float]:
    """Returns the steps at which a trial that takes so many is looked at, each with the steps that it stands for."""
    standing: dict[int, float] = {}
    for place in range(CHECKPOINTS):
        begins, middle, ends = (steps ** ((place + part) / CHECKPOINTS) for part in (0, 0.5, 1))
        at = max(1, round(middle))
        standing[at] = standing.get(at, 0.0) + ends - begins
    return standing


@final
class HessianProducts:
    """Measures g_i' H g_j at chosen steps of one trial, at the parameters before the step."""

    def __init__(self, problem: Problem, steps: Iterable[int], seed: int) -> None:
        """`seed`: of the draws, which are the trial's own in no case."""
        self._problem, self._steps, self._seed = problem, frozenset(steps), seed
        self.by_step: dict[int, tuple[Array, int]] = {}
        """[GROUPS, GROUPS] and the observations of a group."""

    def look(self, coming: StepToCome) -> None:
        """Measures before a chosen step."""
        if coming.step not in self._steps:
            return
        problem = self._problem
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + coming.step)
        each, behind = (IMAGES, HESSIAN_IMAGES) if problem.per_draw == 1 else (WINDOWS, HESSIAN_WINDOWS)
        gradients = torch.stack(
            [flat_gradient(problem, coming.model, problem.draw(each, generator), generator) for _ in range(GROUPS)]
        )
        others = problem.draw(behind, generator)
        # The fast LSTM has no second derivative, fast convolutions have. Torch warns of a setting that flags() resets.
        fast = problem.per_draw == 1
        with warnings.catch_warnings(action="ignore"), torch.backends.mkldnn.flags(enabled=fast):
            products = hessian_vector_products(
                [lambda: problem.loss(coming.model, others, generator)], list(coming.model.parameters()), gradients
            )
        self.by_step[coming.step] = quadratic_forms(gradients, products), each * problem.per_draw

    def average(self, steps: float, batch: int) -> Average:
        """Returns the average up to a goal that took so many steps at this batch, observations."""
        standing = checkpoints(steps)
        return average_along(
            {at: self.by_step[at] for at in standing if at in self.by_step}, standing=standing, batch=batch
        )


def quadratic_forms(gradients: Tensor, products: Tensor) -> Array:
    """Returns g_i' H g_j [groups, groups] of gradients and H times each, both [groups, parameters]."""
    forms: Array = (gradients.double() @ products.double().T).numpy()
    return (forms + forms.T) / 2


def average_along(
    forms: Mapping[int, tuple[Array, int]], *, standing: Mapping[int, float], batch: int, level: float = 0.95
) -> Average:
    """Returns the average of checkpoints.

    Args:
        forms: by step, g_i' H g_j and the observations of a group.
        standing: by step, the steps that it stands for.
        batch: of the trial, observations.
        level: of the interval.
    """
    whole, used = _sums(forms, standing, batch, None)
    without = np.array([_sums(forms, standing, batch, group)[0] for group in range(GROUPS)])
    spread = without - without.mean(axis=0)
    covariance = (GROUPS - 1) / GROUPS * spread.T @ spread
    trace, curvature = whole
    interval = fieller(trace, curvature, covariance, GROUPS - 1, level) if curvature > 0 and trace > 0 else UNKNOWN
    value = trace / curvature if curvature > 0 and trace > 0 else math.nan
    return Average(value=value, low=interval.low, high=interval.high, checkpoints=used)


def _sums(
    forms: Mapping[int, tuple[Array, int]], standing: Mapping[int, float], batch: int, without: int | None
) -> tuple[Sequence[float], int]:
    """Sums of n T / q and n G / q, without one group, and how many checkpoints count."""
    trace = curvature = 0.0
    used = 0
    for step, (matrix, observations) in forms.items():
        kept = np.arange(len(matrix)) != (-1 if without is None else without)
        moments = moments_from_gram(matrix[np.ix_(kept, kept)], observations)
        size = moments.grad_sq + moments.trace / batch
        if size > 0:
            used += 1
            trace += standing[step] * moments.trace / size
            curvature += standing[step] * moments.grad_sq / size
    return (trace, curvature), used
