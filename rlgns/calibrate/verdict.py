"""The lines that `rlgns calibrate` ends with: the two noise scales, and whether the run's own numbers agree."""

from __future__ import annotations

import math

from rlgns.calibrate.result import Calibration
from rlgns.calibrate.run_numbers import PREFIXES, agrees, over
from rlgns.formatting import interval, rounded
from rlgns.noise.in_row import now_key
from rlgns.noise.interval import Ratio
from rlgns.noise.offline.truth import Truth

NAMES = {"along_steps": "along the steps", "at_rollout": "at the parameters that played"}


def scale_of(truth: Truth) -> Ratio:
    """Returns a truth's noise scale with its interval; the value is NaN where only a bound is known."""
    high = truth.noise_scale_high
    value = truth.noise_scale if math.isfinite(high) else math.nan
    return Ratio(value=value, low=truth.noise_scale_low, high=high)


def verdict(found: Calibration) -> list[str]:
    """Returns the lines, each of 80 columns at most."""
    lines = []
    for name in NAMES:
        if name not in found.truths:
            continue
        truth = scale_of(found.truths[name])
        lines.append(f"Noise scale {NAMES[name]}: {interval(truth.value, truth.low, truth.high)} observations.")
        logged, key = found.logged.get(name), now_key(found.row, PREFIXES[name])
        if logged is None:
            lines.append(f"  The run's own {key} is not known here.")
            continue
        own = f"  The run's own {key} there, {interval(logged.value, logged.low, logged.high)},"
        lines += [own, f"  {_agreement(over(logged, truth))}"]
    if "along_steps" not in found.truths:
        lines.append(_no_path(found))
    if not found.burn_in.agrees:
        lines.append("The rounds used were not seen to agree: play more (--observations).")
    return lines


def _agreement(ratio: Ratio) -> str:
    if math.isfinite(ratio.value):
        ends = f"{rounded(ratio.low)} to {rounded(ratio.high)}"
        return f"{_word(ratio)}: {rounded(ratio.value)} times brute force ({ends})."
    if agrees(ratio):
        return "agrees as far as the bounds tell."
    bound = f"at most {rounded(ratio.high)}" if ratio.high < 1 else f"at least {rounded(ratio.low)}"
    return f"{_word(ratio)}: {bound} times brute force."


def _word(ratio: Ratio) -> str:
    return "agrees" if agrees(ratio) else "DIFFERS"


def _no_path(found: Calibration) -> str:
    if found.policy.config.agent.minibatches == 1:
        return "An epoch has one step: the noise scale along the steps is the same."
    return "Along the steps nothing is known yet: play more (--observations)."
