r"""What an adaptive batch gained and what was predicted: a run against the front of the fixed batches.

Fixed batches lie on (S/S_min - 1) (E/E_min - 1) = 1. A batch B(s) = sqrt(r N(s)) at every step lies on

    (S/S_min - 1) (E/E_min - 1) = gamma,   gamma = (int sqrt(N) ds)^2 / (S_min E_min) <= 1

(McCandlish et al. 2018, arXiv:1812.06162, appendix D). gamma is predicted from the noise scale along a run
(`PredictedGamma`) and measured by putting the run's S and E and the sweep's S_min and E_min into the left side. In
steps at equal observations, with e = E/E_min - 1, that is

    S_fixed(E) / S = (1 + 1/e) S_min / S,   predicted (1 + 1/e) / (1 + gamma/e).

**Interval.** An adaptive run scatters about the front as the sweep's runs do, by the fit's misfit, S and E together.
With m adaptive runs and n runs of the sweep ln S and ln E move by h = t s sqrt(1/m + 2/n), s the misfit with n - 2
degrees of freedom and t Student's quantile: 1/m for the runs, 2/n for the curve's two parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from rlgns.critical.goals import GoalReached
from rlgns.critical.points import GoalFit


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveGain:
    """What adaptive runs needed for one goal, compared with the front of the fixed batches. NaN where not known."""

    goal: GoalFit
    """The sweep's fit."""
    runs: int
    """Adaptive runs that reached the goal."""
    of: int
    """Adaptive runs in all."""
    reason: str
    """Why the gain could not be measured, in words; else empty."""
    optimizer_steps: float = math.nan
    """S, geometric mean over the runs that reached the goal, as are observations and batch."""
    observations: float = math.nan
    """E, observations played."""
    batch_observations: float = math.nan
    """Observations per optimizer step, mean over the steps to the goal."""
    predicted_gamma: float = math.nan
    """Mean over the runs, each from its noise scale up to the goal."""
    gamma: float = math.nan
    """Measured; 0 where the runs lie beyond an end of the front (fewer than S_min or E_min)."""
    gamma_low: float = math.nan
    gamma_high: float = math.nan
    predicted_fewer_steps: float = math.nan
    """S_fixed(E) / S by the predicted gamma: more than 1 is a gain."""
    fewer_steps: float = math.nan
    """Measured: steps of the fixed batch that takes as many observations, relative to the runs'. Infinite where no
    fixed batch reaches the goal with so few observations."""
    fewer_steps_low: float = math.nan
    fewer_steps_high: float = math.nan


def adaptive_gain(goal: GoalFit, runs: Sequence[GoalReached | None], *, level: float = 0.95) -> AdaptiveGain:
    """Compares adaptive runs of one game with the front of one goal.

    Args:
        goal: The sweep's fit.
        runs: What each run needed for this goal; None: it never reached it.
        level: Of the intervals.
    """
    reached = [run for run in runs if run is not None]
    if not reached:
        return AdaptiveGain(goal=goal, runs=0, of=len(runs), reason="no adaptive run reached it")
    steps = _geometric([run.optimizer_steps for run in reached])
    observations = _geometric([run.observations for run in reached])
    gammas = [run.adaptive_gamma for run in reached if run.adaptive_gamma is not None]
    predicted = float(np.mean(gammas)) if gammas else math.nan
    fit = goal.fit
    front = _Front(fit.min_steps, goal.min_observations) if fit.identified else None
    values = {}
    if front is not None:
        error = _error(fit.rms, fit.points_used, len(reached), level)
        less, more = math.exp(-error), math.exp(error)
        values = {
            "gamma": front.gamma(steps, observations),
            "gamma_low": front.gamma(steps * less, observations * less),
            "gamma_high": front.gamma(steps * more, observations * more),
            "predicted_fewer_steps": front.predicted(observations, predicted),
            "fewer_steps": front.fewer_steps(steps, observations),
            "fewer_steps_low": front.fewer_steps(steps * more, observations * more),
            "fewer_steps_high": front.fewer_steps(steps * less, observations * less),
        }
    return AdaptiveGain(
        goal=goal,
        runs=len(reached),
        of=len(runs),
        reason="" if front is not None else f"the front is {fit.reason}",
        optimizer_steps=steps,
        observations=observations,
        batch_observations=goal.reuse * observations / steps,
        predicted_gamma=predicted,
        **values,
    )


@dataclass(frozen=True, slots=True)
class _Front:
    """(S/S_min - 1) (E/E_min - 1) = 1."""

    min_steps: float
    min_observations: float

    def gamma(self, steps: float, observations: float) -> float:
        return max(0.0, steps / self.min_steps - 1) * max(0.0, observations / self.min_observations - 1)

    def fewer_steps(self, steps: float, observations: float) -> float:
        extra = observations / self.min_observations - 1
        return (1 + 1 / extra) * self.min_steps / steps if extra > 0 else math.inf

    def predicted(self, observations: float, gamma: float) -> float:
        extra = observations / self.min_observations - 1
        return (1 + 1 / extra) / (1 + gamma / extra) if extra > 0 else math.nan


def _error(rms: float, points: int, runs: int, level: float) -> float:
    """Half the width of the interval of ln S and ln E about the front."""
    scatter = rms * math.sqrt(points / (points - 2))
    return float(stdtrit(points - 2, 0.5 + level / 2)) * scatter * math.sqrt(1 / runs + 2 / points)


def _geometric(values: Sequence[float]) -> float:
    return math.exp(float(np.mean(np.log(values))))
