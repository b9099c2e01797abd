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
    along_steps: bool = False
    """Whether it sees optimizer steps: its truth is that along the steps, else that at the parameters that played."""


RIDE_ALONG = Estimator(name="ride-along, on steps", unbiased=True, along_steps=True)
RIDE_ALONG_STILL = Estimator(name="ride-along, no steps", unbiased=True)
PROBE = Estimator(name="probe", extra_passes=1, unbiased=True)
SHUFFLED = Estimator(name="shuffled")
PER_EXAMPLE = Estimator(name="per-example norms", extra_passes=1)
ACROSS_STEPS = Estimator(name="across steps", along_steps=True)
GPT_NEOX = Estimator(name="GPT-NeoX", along_steps=True)
TWO_RANKS = Estimator(name="k-diffusion, 2 ranks", unbiased=True)
ONE_SMALL = Estimator(name="one small batch", unbiased=True)
PROBE_TWO_RANKS = Estimator(name="k-diffusion, whole rollout", extra_passes=1, unbiased=True)
PROBE_ONE_SMALL = Estimator(name="one small, whole rollout", extra_passes=1, unbiased=True)

PAIRS = (
    (RIDE_ALONG_STILL, ONE_SMALL),
    (RIDE_ALONG_STILL, TWO_RANKS),
    (RIDE_ALONG, GPT_NEOX),
    (PROBE, PROBE_ONE_SMALL),
    (PROBE, PROBE_TWO_RANKS),
)
"""Ours and theirs with the same truth and equally many extra passes: none in the first three pairs, else one."""
