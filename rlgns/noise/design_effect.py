r"""Design effect: how much correlation within environments raises the noise.

n observations in clusters (environments). sigma^2 = tr Cov of one observation's gradient; deff sigma^2 / n the variance
of the mean of all n, so deff correlated observations are worth one independent one (Kish 1965; T steps of pairwise
correlation rho: 1 + (T - 1) rho).

Split by environment, the group means are independent: E[trace_env] = deff sigma^2, the trace that counts. Split at
random into equal groups of the n observations, the trace is the finite population's variance S2 whatever the group
size: S2 = (1/(n-1)) sum_i |g_i - g_mean|^2, and E sum_i |g_i - g_mean|^2 = n sigma^2 - deff sigma^2, so

    E[trace_shuffled] = sigma^2 (n - deff) / (n - 1)
    sigma^2 = ((n - 1) trace_shuffled + trace_env) / n          solves both
    deff    = trace_env / sigma^2

Both split the same |g_mean|^2 = grad_sq + trace / n, so the shuffled grad_sq is too large by sigma^2 (deff - 1) / (n -
1), and the shuffled noise scale can never exceed about n / (deff - 1), whatever the truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, final

import numpy as np

from rlgns.metric_key import Key
from rlgns.noise.block_sums import BlockSums
from rlgns.noise.moments import Moments
from rlgns.noise.statistic import MeasuredBatch, Statistic


def design_effect(trace_by_env: float, trace_shuffled: float, observations: float) -> float:
    """Returns the design effect from the two ways to split batches of the same size.

    Args:
        trace_by_env: trace from groups of whole environments, averaged over many batches.
        trace_shuffled: trace from groups of observations drawn at random, likewise.
        observations: observations in a batch that was split at random.

    Returns:
        Observations of one environment that are worth one independent observation; NaN where the variance of an
        observation is not positive.

    Raises:
        ValueError: fewer than two observations.
    """
    if observations < 2:
        raise ValueError(f"a design effect needs at least 2 observations, got {observations}")
    single = ((observations - 1) * trace_shuffled + trace_by_env) / observations
    return trace_by_env / single if single > 0 else math.nan


def shuffled_noise_scale(grad_sq: float, trace_by_env: float, effect: float, observations: float) -> float:
    """Returns the noise scale that splitting a shuffled batch would report. For comparison only: it is biased.

    Args:
        grad_sq: |G|^2.
        trace_by_env: trace with environments as the unit.
        effect: design effect.
        observations: observations in the batch.

    Returns:
        Ratio of the expected shuffled moments, in observations; NaN where the denominator is not positive.
    """
    single = trace_by_env / effect
    denominator = grad_sq + single * (effect - 1) / (observations - 1)
    return single * (observations - effect) / (observations - 1) / denominator if denominator > 0 else math.nan


@final
class DesignEffectTracker:
    """Running design effect from batches split by environment and, less often, by shuffled observations.

    Each kind is averaged with weights n exp(-age / H), with age in observations of its own kind. Where one batch in k
    is shuffled, give the shuffled ones the horizon H / k: then both kinds look equally far back.
    """

    def __init__(self, horizon_observations: float | None = None, shuffled_horizon_observations: float | None = None):
        """Starts empty; horizons as in NoiseScaleTracker, the second for shuffled batches (None: same as the first)."""
        self._by_env = BlockSums(horizon_observations)
        self._shuffled = BlockSums(shuffled_horizon_observations or horizon_observations)

    def update_by_env(self, moments: Moments) -> None:
        """Adds a batch that was split by environment; skips moments that are not finite."""
        if moments.is_finite:
            self._by_env.update(np.array([moments.trace]), moments.observations)

    def update_shuffled(self, moments: Moments) -> None:
        """Adds a batch that was split by shuffled observations; skips moments that are not finite."""
        if moments.is_finite:
            self._shuffled.update(np.array([moments.trace, moments.observations]), moments.observations)

    def restart(self) -> None:
        """Forgets all sums."""
        self._by_env.clear()
        self._shuffled.clear()

    def estimate(self) -> float:
        """Returns the design effect as of now; NaN before both kinds of split were seen."""
        by_env, shuffled = self._by_env.mean(), self._shuffled.mean()
        if by_env is None or shuffled is None:
            return math.nan
        return design_effect(float(by_env[0]), float(shuffled[0]), float(shuffled[1]))

    def state_dict(self) -> dict[str, Any]:
        """Returns everything, as plain Python numbers and lists."""
        return {"by_env": self._by_env.state_dict(), "shuffled": self._shuffled.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._by_env.load_state_dict(state["by_env"])
        self._shuffled.load_state_dict(state["shuffled"])


@final
class DesignEffectStatistic(Statistic):
    """The design effect as training logs it."""

    keys: ClassVar = (
        Key(
            name="noise/design_effect",
            kind=float,
            unit="ratio",
            meaning="Smoothed: how many correlated observations of one environment are worth one independent "
            "observation; 1 means no correlation. It grows with `agent.rollout_steps`; values scatter, also below 1",
            formula="trace between environments / variance of an observation; the latter from groups of shuffled "
            "observations and, for what they share with their batch, the former",
            null_when="not measured yet",
        ),
    )

    def __init__(self, horizon_observations: float | None, shuffled_horizon_observations: float | None) -> None:
        """Starts empty; arguments as in DesignEffectTracker."""
        self.tracker = DesignEffectTracker(horizon_observations, shuffled_horizon_observations)

    def update(self, batch: MeasuredBatch) -> None:
        """Adds one batch, split either way."""
        if batch.relative is None:
            return
        if batch.shuffled:
            self.tracker.update_shuffled(batch.relative)
        else:
            self.tracker.update_by_env(batch.relative)

    def restart(self) -> None:
        """Forgets all sums."""
        self.tracker.restart()

    def row(self, *, refresh: bool = True) -> dict[str, Any]:
        """Ends an iteration: returns the smoothed design effect."""
        return {"noise/design_effect": self.tracker.estimate()}

    def state_dict(self) -> dict[str, Any]:
        """Returns the tracker's state."""
        return self.tracker.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.tracker.load_state_dict(state)
