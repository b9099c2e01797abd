"""Keys about the noise scale that is measured during normal training: logged by `rlgns.engine.ride_along`."""

from __future__ import annotations

from rlgns.metrics.key import Key, KeyGroup

NOISE_SCALE = KeyGroup(
    title="Noise scale",
    text="Measured during normal training, on the first epoch's batches, whose observations no step has used yet: at "
    "one parameter vector per batch, between groups of whole environments, before gradient clipping. Nothing is "
    "clamped: an unbiased estimate of a positive number may be negative.",
    keys=(
        Key(
            name="noise/overhead_fraction",
            kind=float,
            unit="fraction",
            meaning="Share of this iteration's wall-clock time that the measurement's own arithmetic and the probe "
            "took. The groups' gradients are made on the way to the mean gradient and are not counted; "
            "`benchmarks/throughput.py` compares measuring on with off",
            null_when="not known yet",
        ),
        Key(
            name="noise/grad_sq",
            kind=float,
            unit="squared norm",
            meaning="This iteration's unbiased estimate of |G|^2, the squared norm of the true gradient; may be "
            "negative",
            formula="(M |g_mean|^2 - mean_k |g_k|^2) / (M - 1) over M groups, mean over batches",
            source="[M] A.1",
            null_when="nothing was measured",
        ),
        Key(
            name="noise/trace",
            kind=float,
            unit="squared norm",
            meaning="This iteration's unbiased estimate of tr(Sigma) per observation, with whole environments as the "
            "independent units; may be negative",
            formula="b M (mean_k |g_k|^2 - |g_mean|^2) / (M - 1), b observations per group",
            source="[M] A.1",
            null_when="nothing was measured",
        ),
        Key(
            name="noise/scale",
            kind=float,
            unit="observations",
            meaning="Smoothed noise scale B_simple",
            formula="`noise/trace` / `noise/grad_sq`, both divided by the gradients' recent size and smoothed alike "
            "([measurement.md](measurement.md))",
            source="[M] eq. 2.9",
            null_when="nothing was measured yet or |G|^2 is not positive",
        ),
        Key(
            name="noise/scale_low",
            kind=float,
            unit="observations",
            meaning="Lower end of its confidence interval, at the level `noise.level`",
            formula="Fieller's interval of the ratio",
            null_when="there are not enough measurements",
        ),
        Key(
            name="noise/scale_high",
            kind=float,
            unit="observations",
            meaning="Upper end of its confidence interval",
            formula="Fieller's interval of the ratio",
            null_when="only a lower bound is known or there are not enough measurements",
        ),
        Key(
            name="noise/resolved",
            kind=bool,
            unit="yes or no",
            meaning="Whether |G|^2 can be told from 0, so that the interval has two ends",
        ),
        Key(
            name="noise/updates",
            kind=int,
            unit="measurements",
            meaning="Measurements so far, one per batch of a first epoch",
        ),
        Key(
            name="noise/skipped",
            kind=int,
            unit="measurements",
            meaning="Measurements left out so far because a gradient was NaN or infinite. Anything but 0 means that "
            "training is in trouble",
        ),
        Key(
            name="noise/design_effect",
            kind=float,
            unit="ratio",
            meaning="Smoothed: how many correlated observations of one environment are worth one independent "
            "observation; 1 means no correlation",
            formula="trace between environments / trace between shuffled observations",
            null_when="not measured yet",
        ),
        Key(
            name="noise/ladder",
            kind=list,
            unit="observations, squared norm",
            meaning="Squared norm of the mean gradient of so many observations, smoothed as `noise/scale` is and "
            "scaled to the gradients' present size. Empty where nothing was measured",
            formula="groups merged pairwise; E|g_B|^2 = |G|^2 + tr(Sigma) / B",
            source="[M] A.1",
            entry_fields=("batch_observations", "grad_sq_norm"),
        ),
    ),
)
