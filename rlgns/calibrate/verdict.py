"""The lines that `rlgns calibrate` ends with: the two noise scales, and whether the run's own numbers agree."""

from __future__ import annotations

import math

from rlgns.calibrate.result import Calibration
from rlgns.calibrate.run_numbers import agrees, over
from rlgns.formatting import interval, rounded
from rlgns.noise.interval import Ratio
from rlgns.noise.offline.comparison import Truth

NAMES = {"along_steps": "along the steps", "at_rollout": "at the parameters that played"}
KEYS = {"along_steps": "noise/scale", "at_rollout": "noise/at_rollout/scale"}


def scale_of(truth: Truth) -> Ratio:
    """Returns a truth's noise scale with its interval; the value is NaN where only a bound is known."""
    return Ratio(value=truth.noise_scale, low=truth.noise_scale_low, high=truth.noise_scale_high)


def verdict(found: Calibration) -> list[str]:
    """Returns the lines, each of 80 columns at most."""
    lines = []
    for name in NAMES:
        if name not in found.truths:
            continue
        truth = scale_of(found.truths[name])
        lines.append(f"Noise scale {NAMES[name]}: {interval(truth.value, truth.low, truth.high)} observations.")
        logged = found.logged.get(name)
        if logged is None:
            lines.append(f"  The run's own {KEYS[name]} is not known here.")
            continue
        own = f"  The run's own {KEYS[name]} there, {interval(logged.value, logged.low, logged.high)},"
        lines += [own, f"  {_agreement(over(logged, truth))}"]
    if "along_steps" not in found.truths:
        lines.append(_no_path(found))
    if not found.burn_in.agrees:
        lines.append("The rounds used were not seen to agree: play more (--observations).")
    return lines


def _agreement(ratio: Ratio) -> str:
    size = _size(ratio)
    if agrees(ratio):
        return f"agrees: {size}." if size else "agrees as far as the bounds tell."
    return f"DIFFERS: {size}." if size else "DIFFERS: the intervals do not meet."


def _size(ratio: Ratio) -> str:
    """Returns '1.1 times the truth (0.8 to 1.4)'; empty where neither end is known."""
    ends = ""
    if math.isfinite(ratio.high):
        ends = f"{rounded(ratio.low)} to {rounded(ratio.high)}" if ratio.low > 0 else f"at most {rounded(ratio.high)}"
    elif ratio.low > 0:
        ends = f"at least {rounded(ratio.low)}"
    if math.isfinite(ratio.value):
        return f"{rounded(ratio.value)} times brute force ({ends or 'nothing surer is known'})"
    return f"{ends} times brute force" if ends else ""


def _no_path(found: Calibration) -> str:
    if found.policy.config.agent.minibatches == 1:
        return "An epoch has one step: the noise scale along the steps is the same."
    return "Along the steps nothing is known yet: play more (--observations)."
