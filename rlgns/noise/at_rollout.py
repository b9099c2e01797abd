"""The noise scale at the parameters that played: that of the first batch of every iteration alone.

The other batches of the first epoch are measured after noisy optimizer steps, where |G|^2 can be many times larger
(docs/notes/two-noise-scales.md). `noise/scale` is of all of them; what a frozen policy has is the noise scale here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

from rlgns.metric_key import OLDER_RUNS, Key
from rlgns.noise.moments import Moments, mean_moments
from rlgns.noise.statistic import MeasuredBatch, Statistic
from rlgns.noise.tracker import NoiseScaleTracker


@final
class AtRolloutStatistic(Statistic):
    """The noise scale at the parameters that played, smoothed as `noise/scale` is; batches split by environment."""

    keys: ClassVar = (
        Key(
            name="noise/at_rollout/grad_sq",
            kind=float,
            unit="squared norm",
            meaning="`noise/grad_sq` of this iteration's first batch alone: at the parameters that played, before any "
            "step on these observations",
            formula="as `noise/grad_sq`",
            source="[M] A.1",
            null_when="the first batch was split by shuffled observations or nothing was measured",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="noise/at_rollout/trace",
            kind=float,
            unit="squared norm",
            meaning="`noise/trace` of this iteration's first batch alone",
            formula="as `noise/trace`",
            source="[M] A.1",
            null_when="the first batch was split by shuffled observations or nothing was measured",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="noise/at_rollout/scale",
            kind=float,
            unit="observations",
            meaning="Smoothed noise scale at the parameters that played, the one that `rlgns calibrate` knows by brute "
            "force. Where an epoch has several optimizer steps it can be far larger than `noise/scale`, whose other "
            "batches come after noisy steps. Where it has one (A2C, `agent.minibatches` 1) both are the same number. "
            "With `engine.async_lag` 1 the parameters are one update newer than those that played",
            formula="`noise/at_rollout/trace` / `noise/at_rollout/grad_sq`, smoothed as `noise/scale` over the same "
            "stretch of training",
            source="[M] eq. 2.9",
            null_when="nothing was measured yet or |G|^2 is not positive",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="noise/at_rollout/scale_low",
            kind=float,
            unit="observations",
            meaning="Lower end of its confidence interval, at the level `noise.level`",
            formula="Fieller's interval of the ratio",
            null_when="there are not enough measurements",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="noise/at_rollout/scale_high",
            kind=float,
            unit="observations",
            meaning="Upper end of its confidence interval",
            formula="Fieller's interval of the ratio",
            null_when="only a lower bound is known or there are not enough measurements",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="noise/at_rollout/resolved",
            kind=bool,
            unit="yes or no",
            meaning="Whether its |G|^2 can be told from 0, so that the interval has two ends",
            absent_from=OLDER_RUNS,
        ),
    )

    def __init__(self, horizon_observations: float | None, level: float) -> None:
        """Starts empty; the horizon counts observations of first batches alone, otherwise as in NoiseScaleTracker."""
        self.tracker = NoiseScaleTracker(horizon_observations, level)
        self._latest: list[Moments] = []  # of this iteration

    def update(self, batch: MeasuredBatch) -> None:
        """Adds one batch if no step was taken before it and it was split by environment."""
        if batch.step or batch.shuffled:
            return
        self._latest.append(batch.moments)
        if batch.relative is not None:
            self.tracker.update(batch.relative)

    def row(self) -> dict[str, Any]:
        """Ends an iteration: returns the raw moments of its first batch, and the smoothed noise scale."""
        latest = mean_moments(self._latest) if self._latest else None
        self._latest = []
        estimate = self.tracker.estimate()
        return {
            "noise/at_rollout/grad_sq": latest.grad_sq if latest else None,
            "noise/at_rollout/trace": latest.trace if latest else None,
            "noise/at_rollout/scale": estimate.noise_scale,
            "noise/at_rollout/scale_low": estimate.low,
            "noise/at_rollout/scale_high": estimate.high,
            "noise/at_rollout/resolved": estimate.resolved,
        }

    def state_dict(self) -> dict[str, Any]:
        """Returns the tracker's state."""
        return self.tracker.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.tracker.load_state_dict(state)
