"""The estimators of the noise scale that a calibration compares: ours, and other tools'."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimator:
    """One estimator, as tables and JSON name it."""

    name: str
    extra_passes: int = 0
    """Gradients per observation measured, beyond those that training takes anyway."""
    unbiased: bool = False
    """Whether it splits a batch by environment at one parameter vector."""


RIDE_ALONG = Estimator(name="ride-along", unbiased=True)
PROBE = Estimator(name="probe", extra_passes=1, unbiased=True)
SHUFFLED = Estimator(name="shuffled")
PER_EXAMPLE = Estimator(name="per-example norms", extra_passes=1)
ACROSS_STEPS = Estimator(name="across steps")
GPT_NEOX = Estimator(name="two-batch, GPT-NeoX")
TWO_RANKS = Estimator(name="two-batch, k-diffusion on 2 ranks", unbiased=True)
ONE_SMALL = Estimator(name="two-batch, one small batch", unbiased=True)
PROBE_TWO_RANKS = Estimator(name=f"{TWO_RANKS.name}, whole rollout", extra_passes=1, unbiased=True)
PROBE_ONE_SMALL = Estimator(name=f"{ONE_SMALL.name}, whole rollout", extra_passes=1, unbiased=True)

PAIRS = (
    (RIDE_ALONG, ONE_SMALL),
    (RIDE_ALONG, TWO_RANKS),
    (RIDE_ALONG, GPT_NEOX),
    (PROBE, PROBE_ONE_SMALL),
    (PROBE, PROBE_TWO_RANKS),
)
"""Ours and theirs with equally many extra passes: none in the first three pairs, one in the others."""
