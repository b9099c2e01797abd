"""The noise scale at the parameters that played: that of the first batch of every iteration alone.

The other batches of the first epoch are measured after noisy optimizer steps, where |G|^2 can be many times larger
(docs/notes/two-noise-scales.md). `noise/scale` is of all of them; what a frozen policy has is the noise scale here.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

from rlgns.metric_key import OLDER_RUNS, Key
from rlgns.noise.noise_scale import SmoothedScale, now_keys
from rlgns.noise.statistic import MeasuredBatch


@final
class AtRolloutStatistic(SmoothedScale):
    """The noise scale at the parameters that played, smoothed as `noise/scale` is; batches split by environment.

    Its horizon counts observations of first batches alone.
    """

    prefix = "noise/at_rollout"
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
            meaning="Smoothed noise scale at the parameters that played; `rlgns calibrate` measures both by brute "
            "force. Where an epoch has several optimizer steps it can be far larger than `noise/scale`, whose other "
            "batches come after noisy steps. Where it has one (A2C, `agent.minibatches` 1) both are the same number. "
            "With `engine.async_lag` 1 the parameters are one update newer than those that played",
            formula="`noise/at_rollout/trace` / `noise/at_rollout/grad_sq`, smoothed as `noise/scale`, with a "
            "separate horizon",
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
            meaning="Whether its |G|^2 is distinguishable from 0, so that the interval has two ends",
            absent_from=OLDER_RUNS,
        ),
        *now_keys("noise/at_rollout", of=", in observations of first batches alone"),
    )

    def update(self, batch: MeasuredBatch) -> None:
        """Adds one batch if no step was taken before it and it was split by environment."""
        if not (batch.step or batch.shuffled):
            self.add(batch)

    def row(self, *, refresh: bool = True) -> dict[str, Any]:
        """Ends an iteration: returns the raw moments of its first batch, and the smoothed noise scale."""
        return self.entries(self.smoothed(refresh=refresh))
