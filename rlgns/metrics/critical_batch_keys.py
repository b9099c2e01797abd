"""Keys about the run average, the critical batch and its advice: `rlgns.critical.predicted` computes them."""

from __future__ import annotations

from rlgns.metric_key import OLDER_RUNS, Key, KeyGroup
from rlgns.metrics.probe_keys import NO_BUDGET

BOUND_ONLY = "`critical_batch/predicted` is null"

RUN_AVERAGE = KeyGroup(
    title="Run average",
    text="The noise scale, averaged along the run up to now with the weights of [M] appendix D, which the paper "
    "compares with a sweep's critical batch. Measured optimizer steps enter, resolved or not, by their raw "
    "moments, but for those whose learning rate has been annealed below half of the run's highest, because a small "
    "learning rate inflates the noise scale ([measurement.md](measurement.md)).",
    keys=(
        Key(
            name="noise/run_average",
            kind=float,
            unit="observations",
            meaning="Average noise scale of the run so far, not calibrated",
            formula="(sum T / g) / (sum G / g) over optimizer steps, G = `noise/grad_sq`, T = `noise/trace`, g = "
            "G + T / B over the rows before",
            source="[M] appendix D",
            null_when="nothing was measured yet or the sum of G is not positive",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="noise/run_average_low",
            kind=float,
            unit="observations",
            meaning="Lower end of its confidence interval, at the level `noise.level`",
            formula="Fieller's interval of the ratio",
            null_when="there are not enough measurements",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="noise/run_average_high",
            kind=float,
            unit="observations",
            meaning="Upper end of its confidence interval",
            formula="Fieller's interval of the ratio",
            null_when="`noise/run_average_resolved` is false or `noise/run_average_outlier_share` is above 0.5",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="noise/run_average_resolved",
            kind=bool,
            unit="yes or no",
            meaning="Whether the average |G|^2 is distinguishable from 0",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="noise/run_average_share",
            kind=float,
            unit="fraction",
            meaning="Share of all optimizer steps so far that the average covers: those of measured iterations, at a "
            "learning rate of at least half of the run's highest (times sqrt(batch) if the batch is adaptive)",
            null_when="there was no step yet",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="noise/run_average_learning_rate",
            kind=float,
            unit="per optimizer step",
            meaning="Mean learning rate of these steps",
            null_when="the average covers no step yet",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="noise/run_average_tuned",
            kind=bool,
            unit="yes or no",
            meaning="Whether the newest steps count by their learning rate; below half of the run's highest, more "
            "steps add nothing to the average",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="noise/run_average_outlier_share",
            kind=float,
            unit="fraction",
            meaning="Share of the average |G|^2 from iterations whose gradients' squared size is more than 4 times "
            "that of the iterations before. Above 0.5 the average may be several times too small, and only its lower "
            "end is given ([notes/outliers.md](notes/outliers.md))",
            null_when="the mean G is not positive, or the run began under an older version",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="noise/run_average_missing",
            kind=float,
            unit="ratio",
            meaning="How many optimizer steps are still missing until the average |G|^2 is typically distinguishable "
            "from 0, relative to those covered so far; 0 where it is",
            formula="max(0, t^2 v / G^2 - 1), v the variance of the mean G, t Student's quantile",
            null_when="the mean G is not positive, there are too few measurements, or it would take 20 times as many",
            absent_from=OLDER_RUNS,
        ),
    ),
)

CRITICAL_BATCH = KeyGroup(
    title="Critical batch and advice",
    text="B_crit of the trade-off S = S_min (1 + B_crit / B), E = E_min (1 + B / B_crit) between "
    "optimizer steps S and observations E ([M] eq. 2.11 and 2.12). During training it is predicted from the noise "
    "scale by a calibration: what games whose critical batch was measured say of critical batch / noise scale "
    "([critical-batch.md](critical-batch.md)). The intervals contain the calibration's error and the measurement's. In "
    "older runs, whose rows lack `noise/run_average`, `critical_batch/predicted`, `low` and `high` were the bare "
    "noise scale; `rlgns report` recomputes them.",
    keys=(
        Key(
            name="critical_batch/calibration",
            kind=str,
            unit="text",
            meaning="What the prediction was calibrated on. Rows keep the calibration of the version that wrote them",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="critical_batch/predicted",
            kind=float,
            unit="observations",
            meaning="Predicted critical batch of the run so far",
            formula="calibration of `noise/run_average`",
            source="[M] section 2.3, and configs/calibrations",
            null_when="`noise/run_average_resolved` is false or `noise/run_average` is not positive",
        ),
        Key(
            name="critical_batch/low",
            kind=float,
            unit="observations",
            meaning="Lower end of its prediction interval, at the level `noise.level`",
            formula="both errors added as squares in logarithms",
            null_when="`noise/run_average_low` is null or 0, and `noise/run_average_resolved` is false",
        ),
        Key(
            name="critical_batch/high",
            kind=float,
            unit="observations",
            meaning="Upper end of its prediction interval",
            formula="as `critical_batch/low`",
            null_when="`critical_batch/predicted` is null",
        ),
        Key(
            name="critical_batch/now",
            kind=float,
            unit="observations",
            meaning="Predicted critical batch of this moment, at this row's learning rate: it grows while an agent "
            "learns, and rises without reason where the learning rate is annealed. The adaptive batch follows it",
            formula="calibration of `noise/now`",
            null_when="`noise/resolved` is false, or `noise/now` or `noise/now_high` is null",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="critical_batch/now_low",
            kind=float,
            unit="observations",
            meaning="Lower end of its prediction interval, drift of the noise scale included; under PPO wider than "
            "that of `critical_batch/predicted`, since the calibration is of run averages, not of smoothed values",
            formula="as `critical_batch/low`, from `noise/now_low`",
            null_when="both: `critical_batch/now` is null and `noise/now_low` is null or 0",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="critical_batch/now_high",
            kind=float,
            unit="observations",
            meaning="Upper end of its prediction interval",
            formula="as `critical_batch/low`, from `noise/now_high`",
            null_when="`critical_batch/now` is null",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="advice/twice_envs_step_ratio",
            kind=float,
            unit="ratio",
            meaning="Optimizer steps to the same result with twice the environments (twice the batch), relative to "
            "now; 0.5 is the best possible",
            formula="(2 B + B_crit) / (2 (B + B_crit))",
            source="[M] eq. 2.11",
            null_when=BOUND_ONLY,
        ),
        Key(
            name="advice/twice_envs_observation_ratio",
            kind=float,
            unit="ratio",
            meaning="Observations to the same result with twice the environments, relative to now; 1 is the best "
            "possible",
            formula="twice the step ratio",
            source="[M] eq. 2.11",
            null_when=BOUND_ONLY,
        ),
        Key(
            name="advice/twice_steps_step_ratio",
            kind=float,
            unit="ratio",
            meaning="Optimizer steps to the same result with twice the rollout steps and as many minibatches (twice "
            "the batch), relative to now",
            formula="(B + r B_crit) / (B + B_crit), r = `noise/twice_steps_noise` limited to 1/2 to 1",
            null_when=f"{BOUND_ONLY}, or r is not known",
            absent_from=NO_BUDGET,
        ),
        Key(
            name="advice/twice_steps_observation_ratio",
            kind=float,
            unit="ratio",
            meaning="Observations to the same result with twice the rollout steps, relative to now",
            formula="twice the step ratio",
            null_when=f"{BOUND_ONLY}, or r is not known",
            absent_from=NO_BUDGET,
        ),
    ),
)
