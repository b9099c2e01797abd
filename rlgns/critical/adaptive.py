r"""The adaptive batch: how many environments to use next, given the critical batch of the moment and its interval.

N below is the calibrated `critical_batch/now`: the model's noise scale is the batch at which a step makes half of a
full-batch step's progress, and under A2C the paper's games have it several times below tr(Sigma) / |G|^2. The interval
is the measurement's, `noise/now_low` to `noise/now_high`, both ends calibrated by the best estimate: the calibration's
own error is the same all run long, and says nothing about whether N has changed.

A step at batch B while the noise scale is N makes 1 / (1 + N/B) of a full-batch step's progress and costs B
observations. If saving one step is worth r observations, the cheapest batch at every moment is

    B(s) = sqrt(r N(s)),        r = E_min / S_min unless chosen otherwise,

the run's own critical batch for r (McCandlish et al. 2018, arXiv:1812.06162, appendix D, eq. D.3). Environments come in
doublings, and N is an estimate. So the batch changes only

- by a factor of two, at least HOLD_ITERATIONS iterations after the last change;
- if B(s) differs by more than CHANGE_FACTOR. After a change it differs by at most 2 / CHANGE_FACTOR the other way: only
  a noise scale that turns back by another factor of (CHANGE_FACTOR^2 / 2)^2 = 2 undoes it;
- if the whole confidence interval of N lies on that side. A lower bound alone may make the batch grow, never shrink.

A decision depends on its arguments alone, and a checkpoint holds them: a resumed run decides as if it had never
stopped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlgns.critical.tuned_rate import TUNED_SHARE

CHANGE_FACTOR = 2**0.75
"""Ratio by which the batch must be off to change: 1.68. Halfway between two doublings would be 1.41."""

HOLD_ITERATIONS = 8
"""Iterations between two changes, at least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetBatch:
    """The batch sqrt(r N), in observations per optimizer step."""

    best: float = math.nan
    """At the best estimate of the noise scale; NaN where that is not resolved."""
    low: float = 0.0
    """At the lower end of its interval; 0 where nothing is known."""
    high: float = math.inf
    """At the upper end; infinite where only the lower end is known."""


def target_batch(low: float, noise_scale: float, high: float, *, exchange_rate: float) -> TargetBatch:
    r"""Returns B = sqrt(r N) at the best estimate of the noise scale and at the ends of its interval.

    Args:
        low: Lower end of the noise scale's interval, observations; NaN: nothing is known.
        noise_scale: Best estimate; NaN: none.
        high: Upper end; infinite or NaN: only the lower end is known, and then `noise_scale` is not used.
        exchange_rate: r, observations that saving one step is worth; NaN: not known yet. Then r is the noise scale
            itself (at each end its own), as for a run that has only just begun: B = N.
    """

    def target(scale: float) -> float:
        return math.sqrt((exchange_rate if exchange_rate > 0 else scale) * scale)

    lower = target(low) if math.isfinite(low) and low > 0 else 0.0
    if not math.isfinite(high):
        return TargetBatch(low=lower)
    best = target(noise_scale) if math.isfinite(noise_scale) and noise_scale > 0 else math.nan
    return TargetBatch(best=best, low=lower, high=target(max(high, 0.0)))


def next_envs(
    target: TargetBatch,
    *,
    num_envs: int,
    batch_observations: float,
    tiers: Sequence[int],
    held_iterations: int,
    rate_share: float = 1.0,
) -> int:
    """Returns how many environments to use in the next iteration: as many as now, half or twice as many.

    Args:
        target: The batch to aim at.
        num_envs: Environments in use now.
        batch_observations: Observations per optimizer step with them.
        tiers: Numbers of environments allowed, ascending, each twice the one before.
        held_iterations: Iterations played with `num_envs`, since the last change.
        rate_share: Learning rate relative to the tuned one at this batch. Where it has been annealed below
            `TUNED_SHARE` nothing changes: a small rate inflates the noise scale by itself.
    """
    if held_iterations < HOLD_ITERATIONS or rate_share < TUNED_SHARE:
        return num_envs
    wanted = target.low if math.isnan(target.best) else target.best
    grow = wanted > CHANGE_FACTOR * batch_observations and target.low > batch_observations
    shrink = target.best < batch_observations / CHANGE_FACTOR and target.high < batch_observations
    if grow and num_envs < tiers[-1]:
        return 2 * num_envs
    if shrink and num_envs > tiers[0]:
        return num_envs // 2
    return num_envs
