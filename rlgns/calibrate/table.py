"""The tables that `rlgns calibrate` prints."""

from __future__ import annotations

import math

from rlgns.calibrate.result import SPREAD_OBSERVATIONS, Calibration
from rlgns.formatting import NOTHING, aligned, duration, interval, percent, rounded
from rlgns.noise.interval import Ratio

GOAL = 0.25
"""Our spread over a two-batch estimator's at equal extra gradient compute: the goal."""


def tables(found: Calibration) -> str:
    """Returns all tables, several lines."""
    sections = [_truth(found), _ride_along(found), _estimators(found), _spread_ratios(found)]
    return "\n\n".join("\n".join(lines) for lines in sections)


def _truth(found: Calibration) -> list[str]:
    truth, policy = found.truth, found.policy
    of_grad_sq, of_trace = (percent(error) for error in truth.precision)
    scale = interval(truth.noise_scale, truth.noise_scale_low, truth.noise_scale_high)
    effects = [
        f"{value:.3g} +- {error:.2g}" for value, error in (found.design_effect, found.design_effect_by_shuffling)
    ]
    return _rows(
        ("checkpoint", f"{found.checkpoint} ({policy.game}, {policy.observations:,} observations)"),
        ("brute force", f"{truth.observations:,} observations of {truth.environments} environments, {_ended(found)}"),
        ("", "at the parameters that played: training's noise/at_rollout/scale, not its noise/scale"),
        ("  |G|^2", f"{truth.grad_sq:.4g} +- {truth.grad_sq_error:.2g} ({of_grad_sq})"),
        ("  tr(Sigma)", f"{truth.trace:.4g} +- {truth.trace_error:.2g} ({of_trace}) per observation"),
        ("  noise scale", f"{scale} (95 %)"),
        (
            "  same round",
            f"{truth.same_round:.3g} +- {truth.same_round_error:.2g} (1: G is the same at all times played)",
        ),
        (
            "  same rollout",
            f"{truth.same_rollout:.3g} +- {truth.same_rollout_error:.2g} (1: a rollout's environments are independent)",
        ),
        ("design effect", f"{effects[0]} by single observations, {effects[1]} by shuffled groups"),
    )


def _ride_along(found: Calibration) -> list[str]:
    estimate = found.estimate
    agreed = f"{found.sets_that_agree} of {len(found.own_estimates)}"
    return _rows(
        ("ride-along", f"{interval(estimate.noise_scale, estimate.low, estimate.high)} ({100 * estimate.level:g} %)"),
        (
            "  brute force is",
            ("inside" if found.agrees else "OUTSIDE") + f" this interval of {estimate.updates} batches",
        ),
        ("", f"inside the intervals of {agreed} sets of environments by themselves"),
        ("shuffled split", f"must say {rounded(found.shuffled)} observations, by theory"),
    )


def _estimators(found: Calibration) -> list[str]:
    table: list[tuple[str, ...]] = [
        ("estimator", "|G|^2 / truth", "trace / truth", "noise scale / truth", "spread", "passes", "us/obs")
    ]
    for estimator, quality in found.qualities().items():
        ratios = (ratio(x) for x in (quality.grad_sq, quality.trace, quality.noise_scale))
        cost = (str(estimator.extra_passes), rounded(found.microseconds(estimator)))
        table.append((estimator.name, *ratios, rounded(quality.log_sd), *cost))
    return [
        *aligned(table, left=1),
        f"spread: standard deviation of the log noise scale from {SPREAD_OBSERVATIONS:,} observations",
        "passes: gradients beyond those of training, per observation measured; us/obs: microseconds each, measured",
    ]


def _spread_ratios(found: Calibration) -> list[str]:
    lines = [f"spread of ours / theirs at equal extra passes (goal: {GOAL:g})"]
    for (ours, theirs), found_ratio in found.spread_ratios().items():
        met = "met" if found_ratio.value <= GOAL else "not met"
        lines.append(f"  {ours.name + ' / ' + theirs.name:<62}{ratio(found_ratio):>23}  {met}")
    return lines


def _ended(found: Calibration) -> str:
    took, asked = duration(found.seconds), percent(found.precision)
    if max(found.truth.precision) <= found.precision:
        return f"{took}; both known to {asked}"
    needed = found.truth.observations_for(found.precision)
    wanted = f"about {rounded(needed)} observations" if math.isfinite(needed) else "more than these can tell"
    ended = "interrupted" if found.interrupted else "the cap came first"
    return f"{took}; {ended}: {asked} would take {wanted}"


def _rows(*rows: tuple[str, str]) -> list[str]:
    return [f"{name:<18}{value}" for name, value in rows]


def ratio(found: Ratio) -> str:
    """Returns '1.02 (0.95 to 1.1)', without ends where there are none."""
    if not math.isfinite(found.value):
        return NOTHING
    ends = f" ({found.low:.2g} to {found.high:.2g})" if math.isfinite(found.low) else ""
    return f"{found.value:.3g}{ends}"
