"""The numbers that `rlgns calibrate --json` prints."""

from __future__ import annotations

import dataclasses
from typing import Any

from rlgns.calibrate.result import SPREAD_OBSERVATIONS, Calibration, LiveSets
from rlgns.calibrate.run_numbers import over
from rlgns.calibrate.verdict import scale_of
from rlgns.noise import NoiseScaleEstimate
from rlgns.storage.files import plain


def numbers(found: Calibration) -> dict[str, Any]:
    """Returns every number; what is not defined or not finite is None."""
    truths = {name: dataclasses.asdict(truth) for name, truth in found.truths.items()}
    for truth in truths.values():
        del truth["without_set"]
    everything: dict[str, Any] = {
        "checkpoint": str(found.checkpoint),
        "game": found.policy.game,
        "trained_observations": found.policy.observations,
        "seed": found.seed,
        "precision_asked": found.precision,
        "precision_reached": found.precision_reached,
        "observations": found.observations,
        "observations_needed": found.truth.observations_for(found.precision),
        "interrupted": found.stopped is not None,
        **{"along_steps": None} | truths,
        "rounds": [
            {
                "round": index,
                "grad_sq": moments[0],
                "grad_sq_error": errors[0],
                "trace": moments[1],
                "trace_error": errors[1],
                "used": index >= found.burn_in.first,
            }
            for index, (moments, errors) in enumerate(zip(found.rounds, found.burn_in.errors, strict=True))
        ],
        "rounds_agree": found.burn_in.agrees,
        "design_effect": found.design_effect[0],
        "design_effect_error": found.design_effect[1],
        "design_effect_by_shuffling": found.design_effect_by_shuffling[0],
        "design_effect_by_shuffling_error": found.design_effect_by_shuffling[1],
        "live_sets": {name: _live(live) for name, live in found.live_sets.items()},
        "run": {
            name: {"logged": dataclasses.asdict(logged)}
            | {"over_truth": dataclasses.asdict(over(logged, scale_of(found.truths[name])))}
            for name, logged in found.logged.items()
            if name in found.truths
        },
        "shuffled_by_theory": found.shuffled,
        "spread_observations": SPREAD_OBSERVATIONS,
        "estimators": {
            estimator.name: {name: dataclasses.asdict(quality) for name, quality in qualities.items()}
            | {
                "truth": "along_steps" if estimator.along_steps else "at_rollout",
                "extra_passes": estimator.extra_passes,
                "microseconds_per_observation": found.microseconds(estimator),
            }
            for estimator, qualities in found.qualities().items()
        },
        "spread_ratios": [
            {"ours": ours.name, "theirs": theirs.name, "extra_passes": ours.extra_passes} | dataclasses.asdict(ratio)
            for (ours, theirs), ratio in found.spread_ratios().items()
        ],
        "seconds": found.seconds,
    }
    cleaned: dict[str, Any] = plain(everything)
    return cleaned


def _live(live: LiveSets) -> dict[str, Any]:
    return {
        "together": _estimate(live.together),
        "together_holds_truth": live.together_inside,
        "sets": [_estimate(estimate) for estimate in live.estimates],
        "sets_that_hold_truth": live.inside,
    }


def _estimate(estimate: NoiseScaleEstimate) -> dict[str, Any]:
    names = ("noise_scale", "low", "high", "resolved", "level", "updates", "grad_sq", "trace")
    return {name: getattr(estimate, name) for name in names}
