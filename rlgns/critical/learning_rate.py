"""Warns where a run's learning rate looks far from tuned: its noise scale is then not that of a tuned run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rlgns.formatting import percent, rounded

CLIP_FRACTION_HIGH, CLIP_FRACTION_HIGH_ONE_EPOCH = 0.2, 0.1
"""Usual upper ends of the clip fraction; far above, the learning rate is too high (Hilton et al. 2022, section 5)."""

CLIP_FRACTION_LOW = 0.01
"""Usual lower end of the clip fraction; far below, the policy moves much less per iteration than it could (same)."""

FAR_ABOVE, FAR_BELOW = 1.5, 0.2
"""Factors for "far above" and "far below"; checked in docs/results/temperature.md."""

KL_HIGH = 0.05
"""Upper of the two divergences per update, nats, that Spinning Up calls usual for PPO ("0.01 or 0.05")."""

MIN_ROWS = 10
"""Fewest iterations for a warning."""

FIRST_SHARE = 0.1
"""Share of the rows, from the start, that is left out: training has not settled there."""


def learning_rate_warning(rows: Sequence[Mapping[str, Any]], *, algorithm: str, epochs: int) -> str | None:
    """Returns a one-sentence warning that the learning rate looks far from tuned; None where no sign points to it.

    The noise scale is inversely proportional to the temperature, learning rate over batch, so it compares runs only
    where learning rates are tuned: "The noise scale will be artificially inflated if the learning rate is too small"
    (McCandlish et al. 2018, arXiv:1812.06162, appendix C). Signs, each the median over iterations at which the learning
    rate was at least half of its highest (annealing to zero is no sign of anything):

        too high   clip fraction far above 20 % (10 % with one epoch), or KL divergence per iteration above 0.05
        too low    clip fraction far below 1 %, with several epochs: one epoch may clip nothing at any learning rate,
                   since its first steps are taken where the ratio is 1 (seen on Breakout at 1e-3)

    A factor of four may go unnoticed: clipping keeps the policy's moves per iteration nearly constant
    (docs/results/temperature.md). So None does not mean that the learning rate is tuned. Both signs are PPO's: an A2C
    step is taken where the probability ratio is 1, so nothing is known there.

    Args:
        rows: of metrics.jsonl, oldest first: `learning_rate`, `clip_fraction`, `approx_kl`; missing or null ones are
            left out.
        algorithm: `ppo` or `a2c`.
        epochs: passes over each rollout.

    Returns:
        The sentence, without a full stop; None for A2C, too few rows, or a learning rate that looks reasonable.

    Hilton, Cobbe, Schulman 2022, "Batch size-invariance for policy optimization", arXiv:2110.00641.
    """
    if algorithm != "ppo":
        return None
    settled = _settled(rows)
    if len(settled) < MIN_ROWS:
        return None
    clipped, divergence = _median(settled, "clip_fraction"), _median(settled, "approx_kl")
    usual = CLIP_FRACTION_HIGH if epochs > 1 else CLIP_FRACTION_HIGH_ONE_EPOCH
    if clipped is not None and clipped > FAR_ABOVE * usual:
        return _too_high(f"{percent(clipped)} of the observations are clipped, usual is up to {percent(usual)}")
    if divergence is not None and divergence > KL_HIGH:
        return _too_high(f"the policy moves by {rounded(divergence)} nats an iteration, usual is up to {KL_HIGH:g}")
    if epochs > 1 and clipped is not None and clipped < FAR_BELOW * CLIP_FRACTION_LOW:
        return (
            f"the learning rate looks too low: {percent(clipped)} of the observations are clipped, usual is "
            f"{percent(CLIP_FRACTION_LOW)} to {percent(usual)}; a noise scale measured so is inflated"
        )
    return None


def _too_high(sign: str) -> str:
    return f"the learning rate looks too high: {sign}; a noise scale measured so is smaller than a tuned run's"


def _settled(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows after the start at which the learning rate was at least half of its highest."""
    late = rows[math.ceil(FIRST_SHARE * len(rows)) :]
    rates = [row["learning_rate"] for row in rows if _number(row.get("learning_rate"))]
    if not rates:
        return list(late)
    half = max(rates) / 2
    return [row for row in late if _number(row.get("learning_rate")) and row["learning_rate"] >= half]


def _median(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [float(row[key]) for row in rows if _number(row.get(key))]
    return median(values) if values else None


def _number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
