"""Keys about the critical batch and its advice: logged by `rlgns.engine.rows` and `rlgns.engine.ride_along`."""

from __future__ import annotations

from rlgns.metric_key import OLDER_RUNS, Key, KeyGroup
from rlgns.metrics.probe_keys import NO_BUDGET

BOUND_ONLY = "nothing, or only a lower bound, is known of the critical batch"

CRITICAL_BATCH = KeyGroup(
    title="Critical batch and advice",
    text="B_crit = E_min / S_min of the trade-off S = S_min (1 + B_crit / B), E = E_min (1 + B / B_crit) between "
    "optimizer steps S and observations E ([M] eq. 2.11 and 2.12). During training it is predicted from the noise "
    "scale B_simple, which is a proxy ([measurement.md](measurement.md)); a sweep over batch sizes measures it "
    "([critical-batch.md](critical-batch.md)).",
    keys=(
        Key(
            name="critical_batch/predicted",
            kind=float,
            unit="observations",
            meaning="Predicted critical batch",
            formula="`noise/scale`",
            source="[M] section 2.3",
            null_when="`noise/resolved` is false",
        ),
        Key(
            name="critical_batch/low",
            kind=float,
            unit="observations",
            meaning="Lower end of its interval",
            formula="`noise/scale_low`",
            null_when="`noise/scale_low` is null",
        ),
        Key(
            name="critical_batch/high",
            kind=float,
            unit="observations",
            meaning="Upper end of its interval",
            formula="`noise/scale_high`",
            null_when="`noise/scale_high` is null",
        ),
        Key(
            name="critical_batch/run_average",
            kind=float,
            unit="observations",
            meaning="Prediction for the whole run so far",
            formula="sum w N / sum w over the optimizer steps at which the noise scale N was resolved, "
            "w = 1 / (1 + N / B)",
            source="[M] appendix D",
            null_when="no iteration had a noise scale yet",
        ),
        Key(
            name="critical_batch/run_average_low",
            kind=float,
            unit="observations",
            meaning="Average of the lower ends over the same steps. Where all intervals hold, the average is not below "
            "it",
            formula="as `critical_batch/run_average`, of `noise/scale_low`",
            null_when="`critical_batch/run_average` is null",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="critical_batch/run_average_high",
            kind=float,
            unit="observations",
            meaning="Average of the upper ends over the same steps",
            formula="as `critical_batch/run_average`, of `noise/scale_high`",
            null_when="`critical_batch/run_average` is null",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="critical_batch/run_average_share",
            kind=float,
            unit="fraction",
            meaning="Share of all optimizer steps that these averages cover: the steps at which |G|^2 was resolved",
            null_when="there was no step yet",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="critical_batch/min_steps",
            kind=float,
            unit="optimizer steps",
            meaning="S_min so far: how many steps the covered steps would have been at an infinite batch",
            formula="sum w over the covered steps",
            source="[M] eq. D.1",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="critical_batch/min_observations",
            kind=float,
            unit="observations",
            meaning="E_min so far: observations, each use counted, in the limit of a tiny batch",
            formula="sum w N",
            absent_from=OLDER_RUNS,
        ),
        Key(
            name="critical_batch/adaptive_gamma",
            kind=float,
            unit="ratio",
            meaning="What an adaptive batch is predicted to turn the 1 in (S/S_min - 1) (E/E_min - 1) = 1 into, from "
            "the changes of the noise scale so far. Logged for a fixed batch too",
            formula="(sum w sqrt(N))^2 / (sum w sum w N)",
            source="[M] appendix D",
            null_when="no iteration had a noise scale yet or the run began before this key existed",
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
