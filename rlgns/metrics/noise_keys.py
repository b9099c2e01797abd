"""Keys of the noise scale measured during normal training; the statistics in `rlgns.noise` declare most of them."""

from __future__ import annotations

from rlgns.metric_key import Key, KeyGroup
from rlgns.noise.config import NoiseConfig
from rlgns.noise.live_statistics import LiveStatistics

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
        *LiveStatistics(NoiseConfig(), minibatches=1).keys,
    ),
)
