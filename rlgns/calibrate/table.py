"""The tables that `rlgns calibrate` prints, 80 columns wide."""

from __future__ import annotations

import math

from rlgns.calibrate.result import Calibration
from rlgns.calibrate.verdict import NAMES, verdict
from rlgns.formatting import NOTHING, aligned, duration, interval, percent, plural, rounded
from rlgns.noise.interval import Ratio


def tables(found: Calibration) -> str:
    """Returns all tables, several lines; what a user can use comes last."""
    sections = [_head(found), _rounds(found), _profile(found), _truths(found), _live(found), _ratios(found)]
    return "\n\n".join("\n".join(lines) for lines in [*sections, verdict(found)] if lines)


def _head(found: Calibration) -> list[str]:
    policy, truth, burn_in = found.policy, found.truth, found.burn_in
    left_out = "round 0 is" if burn_in.first == 1 else f"rounds 0 to {burn_in.first - 1} are"
    return [
        f"{found.checkpoint}",
        f"{policy.game}, {policy.observations:,} observations of training. Brute force:",
        f"played   {found.observations:,} observations of {truth.environments} environments, {_ended(found)}",
        f"used     {truth.observations:,} at the parameters that played"
        + (f"; {left_out} left out" if burn_in.first else ""),
        f"replayed {plural(found.path.replays if found.path else 0, 'iteration')} from the checkpoint",
    ]


def _rounds(found: Calibration) -> list[str]:
    table: list[tuple[str, ...]] = [("round", "|G|^2", "tr(Sigma)", "")]
    for index, (moments, errors) in enumerate(zip(found.rounds, found.burn_in.errors, strict=True)):
        cells = (plus_minus(value, error) for value, error in zip(moments, errors, strict=True))
        table.append((str(index), *cells, "used" if index >= found.burn_in.first else "left out"))
    return ["At the parameters that played, by round:", *_stripped(aligned(table))]


def _profile(found: Calibration) -> list[str]:
    if found.path is None:
        return []
    table = [("steps before", "|G|^2", "tr(Sigma)")]
    for step in found.path.profile:
        cells = plus_minus(step.grad_sq, step.grad_sq_error), plus_minus(step.trace, step.trace_error)
        table.append((str(step.step), *cells))
    return ["Along the steps of a first epoch:", *aligned(table)]


def _truths(found: Calibration) -> list[str]:
    table = [("brute force", "|G|^2", "tr(Sigma)", "noise scale (95 %)")]
    for name, truth in ((name, found.path if name == "along_steps" else found.truth) for name in NAMES):
        if truth is not None:
            scale = interval(truth.noise_scale, truth.noise_scale_low, truth.noise_scale_high)
            moments = plus_minus(truth.grad_sq, truth.grad_sq_error), plus_minus(truth.trace, truth.trace_error)
            table.append((NAMES[name], *moments, scale))
    return aligned(table, left=1)


def _live(found: Calibration) -> list[str]:
    lines = ["Intervals of live sets, each from the games of one set of environments alone:"]
    for name in NAMES:
        live = found.live_sets.get(name)
        if live is not None:
            lines.append(f"  {NAMES[name]}: {live.inside} of {len(live.estimates)} hold the truth")
    return lines


def _ratios(found: Calibration) -> list[str]:
    """Returns each estimator's noise scale over both truths; that which it estimates is marked."""
    table: list[tuple[str, ...]] = [("noise scale / brute force", "along the steps", "as played")]
    for estimator, qualities in found.qualities().items():
        cells = []
        for name in NAMES:
            own = (name == "along_steps") == estimator.along_steps
            quality = qualities.get(name)
            cells.append((ratio(quality.noise_scale) if quality else NOTHING) + ("*" if own else " "))
        table.append((estimator.name, *cells))
    return [*_stripped(aligned(table, left=1)), "* what it estimates; - not resolved; in brackets 95 % of both errors"]


def _ended(found: Calibration) -> str:
    took, asked = duration(found.seconds), percent(found.precision)
    if found.enough:
        return f"{took}\n         all known to {asked}"
    needed = found.truth.observations_for(found.precision)
    wanted = f"about {rounded(needed)} observations" if math.isfinite(needed) else "more than these can tell"
    ended = "interrupted" if found.stopped is not None else "the cap came first"
    return f"{took}\n         {ended}: {asked} would take {wanted}"


def _stripped(lines: list[str]) -> list[str]:
    return [line.rstrip() for line in lines]


def plus_minus(value: float, error: float) -> str:
    """Returns '0.053 +- 0.008'."""
    return f"{value:.3g} +- {error:.2g}"


def ratio(found: Ratio) -> str:
    """Returns '1.02 (0.95 to 1.1)', without ends where there are none."""
    if not math.isfinite(found.value):
        return NOTHING
    ends = f" ({found.low:.2g} to {found.high:.2g})" if math.isfinite(found.low) else ""
    return f"{found.value:.3g}{ends}"
