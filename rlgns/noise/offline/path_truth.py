r"""The noise scale along the optimizer steps by brute force: |G|^2 and tr(Sigma) at every theta_k of a first epoch.

Training measures batch k of an epoch at theta_k, after k noisy steps (docs/notes/two-noise-scales.md). Here one set of
environments, a stepper, takes the steps of an iteration from the checkpoint. Others, the measurers, play the same
policy but share no game with it: at every theta_k

    grad_sq = mean over pairs of different measurers of <g_m, g_m'>        g_m the mean gradient of m's rollout

is unbiased for |G(theta_k)|^2, for theta_k knows nothing of their games. E|g|^2 = |G|^2 + tr(Sigma) / T of one
environment's rollout of T observations gives the trace. Both are averaged over replayed iterations, each of which
starts from the checkpoint again. Along the steps they are summed with the weights that `noise/scale` gives to a batch,
and the noise scale is the ratio of the sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from rlgns.noise.offline.truth import Truth, jackknife_error, leave_one_out, truth_fields

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMoments:
    """Moments at the parameters after so many steps, with standard errors (jackknife)."""

    step: int
    grad_sq: float
    grad_sq_error: float
    trace: float
    trace_error: float


@dataclass(frozen=True, kw_only=True, slots=True)
class PathResult(Truth):
    """The truth along the steps of a first epoch; the jackknife's units are sets of environments."""

    profile: tuple[StepMoments, ...]
    replays: int
    """Iterations that were replayed."""

    @property
    def precision(self) -> float:
        """Relative standard error of grad_sq; infinite where it is not positive."""
        return self.grad_sq_error / self.grad_sq if self.grad_sq > 0 else math.inf


@final
class PathTruth:
    """Collects what measurers see along replayed iterations."""

    def __init__(
        self, *, steppers: Sequence[int], measurers: Sequence[int], rollout_steps: int, weights: Sequence[float]
    ) -> None:
        """Takes which sets of environments step and which measure, apart, together numbered from 0.

        Args:
            steppers: At least 2.
            measurers: At least 3, so that one can be left out.
            rollout_steps: Observations of one environment's rollout.
            weights: Of the steps of an epoch.
        """
        assert len(steppers) >= 2
        assert len(measurers) >= 3
        assert sorted([*steppers, *measurers]) == list(range(len(steppers) + len(measurers)))
        self._measurers, self._sets = np.array(measurers), len(steppers) + len(measurers)
        self._rollout_steps = rollout_steps
        self._weights = np.array(weights) / np.sum(weights)
        self._rounds, self._steppers = list[int](), list[int]()
        self._products, self._sq_norms = list[Array](), list[Array]()

    def add(self, *, round_index: int, stepper: int, products: Array, sq_norms: Array) -> None:
        """Adds one replayed iteration.

        Args:
            round_index: In which it was replayed.
            stepper: Set that took the steps.
            products: [steps, measurers, measurers], inner products of the measurers' mean gradients at each theta_k.
            sq_norms: [steps, measurers], means over a measurer's environments of the squared norms of their gradients.
        """
        self._rounds.append(round_index)
        self._steppers.append(stepper)
        self._products.append(products)
        self._sq_norms.append(sq_norms)

    def replays(self, first: int = 0) -> int:
        """Returns the number of iterations replayed from round `first` on."""
        return sum(index >= first for index in self._rounds)

    def result(self, first: int = 0) -> PathResult | None:
        """Returns the result of all replays from round `first` on; None before at least two sets have stepped."""
        chosen = np.array(self._rounds) >= first
        steppers = np.array(self._steppers)[chosen]
        if len(set(steppers)) < 2:
            return None
        products, sq_norms = np.array(self._products)[chosen], np.array(self._sq_norms)[chosen]

        def by_step(kept: NDArray[np.bool_]) -> Array:
            """Returns [steps, 2], grad_sq and trace from these sets alone."""
            replays, measurers = kept[steppers], kept[self._measurers]
            pairs = measurers[:, None] & measurers[None] & ~np.eye(len(measurers), dtype=np.bool_)
            grad_sq = products[replays][:, :, pairs].mean((0, 2))
            own = sq_norms[replays][:, :, measurers].mean((0, 2))
            return np.stack([grad_sq, self._rollout_steps * (own - grad_sq)], axis=1)

        profile, left = by_step(np.ones(self._sets, np.bool_)), leave_one_out(by_step, self._sets)
        errors = jackknife_error(left)
        whole, left_whole = self._weights @ profile, np.einsum("k,skm->sm", self._weights, left)
        return PathResult(
            **truth_fields(whole, left_whole, left_whole),
            profile=tuple(
                StepMoments(
                    step=step,
                    grad_sq=float(moments[0]),
                    grad_sq_error=float(error[0]),
                    trace=float(moments[1]),
                    trace_error=float(error[1]),
                )
                for step, (moments, error) in enumerate(zip(profile, errors, strict=True))
            ),
            replays=len(steppers),
        )
