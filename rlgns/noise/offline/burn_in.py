r"""From which round on games are the policy's own: the first rounds, after random actions, are left out.

Games start staggered, each after up to `env.stagger_steps` random actions. So the first rounds are not what the policy
plays for ever: on Qbert |G|^2 was 2.4 in the first round and 0.03 from the third on. The rule, fixed beforehand:

- Round 0 is never used, unless there is no other.
- Then blocks of rounds are compared with all later rounds: round 1, rounds 2 and 3, rounds 4 to 7. A block is left out
  if its |G|^2 or its trace differs from that of the later rounds by more than Student's t at 95 %. The error of a
  difference comes from leaving out one set of environments at a time, for the same games are on both sides. The first
  block that agrees ends the search: it and all later rounds are used.
- Where no later rounds are left to compare with, the rounds left are used, and the result says that they were not seen
  to agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from rlgns.noise.offline.truth import jackknife_error

Array = NDArray[np.float64]

STARTS = (0, 1, 2, 4, 8)
"""Rounds from which the truth may count."""

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class BurnIn:
    """Which rounds count."""

    first: int
    """First round that counts, one of `STARTS`."""
    agrees: bool
    """Whether the first rounds that count were seen to agree with later ones."""
    errors: Array
    """[rounds, 2], standard errors of each round's grad_sq and trace."""


def burn_in(moments: Array, without_set: Array) -> BurnIn:
    """Returns which rounds count, by the rule above.

    Args:
        moments: [rounds, 2], each round's grad_sq and trace; at least one round.
        without_set: [sets, rounds, 2], the same with one set of environments left out.
    """
    rounds, sets = len(moments), len(without_set)
    errors = np.asarray(jackknife_error(without_set))
    quantile = float(stdtrit(sets - 1, 0.5 + LEVEL / 2))

    def differs(start: int, end: int) -> bool:
        def difference(values: Array) -> Array:
            found: Array = values[..., start:end, :].mean(-2) - values[..., end:, :].mean(-2)
            return found

        error = jackknife_error(difference(without_set))
        return bool(np.any(np.abs(difference(moments)) > quantile * error))

    first = 0
    for start, end in zip(STARTS[1:], (*STARTS[2:], 2 * STARTS[-1]), strict=True):
        if start >= rounds:
            break
        first = start
        if end >= rounds:
            break
        if not differs(start, end):
            return BurnIn(first=first, agrees=True, errors=errors)
    return BurnIn(first=first, agrees=False, errors=errors)
