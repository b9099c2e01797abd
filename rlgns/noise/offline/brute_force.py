r"""The noise scale of a frozen policy from so many observations that it serves as the truth.

The truth is at the parameters that played. Training's `noise/at_rollout/scale` estimates it; `noise/scale` does not: it
is along the optimizer steps (docs/notes/two-noise-scales.md), whose truth is in `rlgns.noise.offline.path_truth`.

Several sets of environments play the same policy, each set a rollout per round. Sets share nothing: no emulator, no
random number, no mean and deviation by which PPO normalises a rollout's advantages. So

    grad_sq = mean over pairs of different sets of <g_s, g_s'>         g_s the mean gradient of all that s has played

is unbiased, however correlated an environment is over time or with others of its rollout, and E|g|^2 = |G|^2 +
tr(Sigma) / T for one environment's rollout of T observations gives the trace.

Games start after random actions, so the first rounds are not the policy's own play: `rlgns.noise.offline.burn_in` says
from which round on the truth counts.

Two more means of inner products show where an on-line estimator, which sees one rollout at a time, must differ:

    same round     pairs of different sets in the same round     above grad_sq if G changes with the time played
    same rollout   pairs of environments of one rollout          differs from `same round` by what couples them
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from rlgns.noise.moments import gram
from rlgns.noise.offline.truth import Truth, jackknife_error, leave_one_out, truth_fields

Array = NDArray[np.float64]

UNITS_PER_SET = 4
"""Parts of a set's environments, the units of the jackknife (fewer where they do not divide it)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BruteForceResult(Truth):
    """The truth about the frozen policy, at the parameters that played."""

    same_round: float
    """Mean inner product of different sets in one round, relative to grad_sq; 1 if G does not depend on time."""
    same_round_error: float
    same_rollout: float
    """Mean inner product of two environments of one rollout, relative to that of different sets in one round; 1 if
    nothing (normalised advantages, shared random numbers) couples the environments of a rollout."""
    same_rollout_error: float
    observations: int
    environments: int

    @property
    def precision(self) -> tuple[float, float]:
        """Relative standard errors of grad_sq and trace; infinite where the value is not positive."""
        return _relative(self.grad_sq_error, self.grad_sq), _relative(self.trace_error, self.trace)

    def observations_for(self, precision: float) -> float:
        """Observations after which both relative errors would be about `precision`; infinite if |G|^2 <= 0 so far.

        The error of the trace falls as 1 / sqrt(n) with the observations n. That of |G|^2 is sqrt((4 x + 2 x^2) / d),
        with x = noise scale / n and d the noise dimension that fits the present error: as 1 / n while n is small.
        """
        grad_sq, trace = self.precision
        if not (math.isfinite(grad_sq) and math.isfinite(trace)):
            return math.inf
        now = self.noise_scale / self.observations
        ahead = (4 * now + 2 * now**2) * (precision / grad_sq) ** 2 if grad_sq > 0 else math.inf
        for_grad_sq = self.noise_scale / (math.sqrt(1 + ahead / 2) - 1) if ahead > 0 else math.inf
        return max(for_grad_sq, self.observations * (trace / precision) ** 2)


@final
class BruteForce:
    """Sums the gradients of all that several sets of environments play at one parameter vector.

    Holds float32 [units, parameters], with `UNITS_PER_SET` units a set, for the current round and for the sum since
    each of `starts`, however much is played. An incomplete round does not count.
    """

    def __init__(
        self, *, sets: int, num_envs: int, parameters: int, rollout_steps: int, starts: Sequence[int] = (0,)
    ) -> None:
        """Allocates for `sets` >= 3 sets of `num_envs` environments; `starts`: rounds from which results may count."""
        assert sets >= 3
        self._per_set = max(units for units in range(1, UNITS_PER_SET + 1) if num_envs % units == 0)
        self._set_of = np.repeat(np.arange(sets), self._per_set)
        units = len(self._set_of)
        self._apart = self._set_of[:, None] != self._set_of[None]
        self._round, self._round_sq_norms = torch.zeros(units, parameters), np.zeros(units)
        self._round_in_rollout = np.zeros(sets)
        self._starts, self._sums = frozenset(starts), dict[int, torch.Tensor]()
        # By round: [units, units], [units] and [sets]
        self._products, self._sq_norms, self._in_rollout = list[Array](), list[Array](), list[Array]()
        self._waiting = set(range(sets))
        self._num_envs, self._steps, self._sets = num_envs, rollout_steps, sets

    @property
    def rounds(self) -> int:
        """Complete rounds."""
        return len(self._products)

    def add(self, set_index: int, gradients: torch.Tensor) -> None:
        """Adds one rollout of a set: its environments' mean gradients [num_envs, parameters], always in one order."""
        assert set_index in self._waiting, f"set {set_index} has played twice in a round"
        rows = gradients.detach().to("cpu", torch.float32)
        own = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).square().numpy()
        here = self._set_of == set_index
        units = rows.unflatten(0, (self._per_set, -1)).mean(1)
        self._round[here] = units
        self._round_sq_norms[here] = own.reshape(self._per_set, -1).mean(1)
        count, whole = self._num_envs, float(torch.linalg.vector_norm(units.mean(0), dtype=torch.float64)) ** 2
        self._round_in_rollout[set_index] = (count * whole - own.mean()) / (count - 1) if count > 1 else math.nan
        self._waiting.remove(set_index)
        if not self._waiting:
            self._end_round()

    def _end_round(self) -> None:
        if self.rounds in self._starts:
            self._sums[self.rounds] = torch.zeros_like(self._round)
        for sums in self._sums.values():
            sums += self._round
        self._products.append(gram(self._round))
        self._sq_norms.append(self._round_sq_norms.copy())
        self._in_rollout.append(self._round_in_rollout.copy())
        self._waiting = set(range(self._sets))

    def by_round(self) -> tuple[Array, Array]:
        """Returns grad_sq and trace of each round by itself [rounds, 2], and with one set left out [sets, rounds, 2].

        A round's grad_sq is from different sets in that round alone.
        """

        def moments(kept_sets: NDArray[np.bool_]) -> Array:
            kept = kept_sets[self._set_of]
            found = [
                self._moments(products, sq_norms, kept)
                for products, sq_norms in zip(self._products, self._sq_norms, strict=True)
            ]
            return np.array(found).reshape(-1, 2)

        return moments(np.ones(self._sets, np.bool_)), leave_one_out(moments, self._sets)

    def _moments(self, products: Array, sq_norms: Array, kept: NDArray[np.bool_]) -> Array:
        grad_sq = products[self._apart & kept[:, None] & kept[None]].mean()
        return np.array([grad_sq, self._steps * (sq_norms[kept].mean() - grad_sq)])

    def result(self, first: int = 0) -> BruteForceResult:
        """Returns the result of the complete rounds from `first` on, one of `starts`; there is at least one."""
        rounds = self.rounds - first
        assert rounds > 0
        products = gram(self._sums[first]) / rounds**2
        same_round, in_rollout = (np.mean(values[first:], axis=0) for values in (self._products, self._in_rollout))
        sq_norms = np.mean(self._sq_norms[first:], axis=0)

        def moments(kept: NDArray[np.bool_]) -> Array:
            return self._moments(products, sq_norms, kept)

        def ratios(kept_sets: NDArray[np.bool_]) -> Array:
            kept = kept_sets[self._set_of]
            chosen = self._apart & kept[:, None] & kept[None]
            round_mean = same_round[chosen].mean()
            return np.array([round_mean / products[chosen].mean(), in_rollout[kept_sets].mean() / round_mean])

        value, left = moments(np.ones(len(self._set_of), np.bool_)), leave_one_out(moments, len(self._set_of))
        without_set = np.array([moments(self._set_of != index) for index in range(self._sets)])
        ratio, ratio_errors = ratios(np.ones(self._sets, np.bool_)), jackknife_error(leave_one_out(ratios, self._sets))
        return BruteForceResult(
            **truth_fields(value, left, without_set),
            same_round=float(ratio[0]),
            same_round_error=float(ratio_errors[0]),
            same_rollout=float(ratio[1]),
            same_rollout_error=float(ratio_errors[1]),
            observations=rounds * self._sets * self._num_envs * self._steps,
            environments=self._sets * self._num_envs,
        )


def _relative(error: float, value: float) -> float:
    return error / value if value > 0 else math.inf
