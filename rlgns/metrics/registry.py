"""The keys of metrics.jsonl: the one list that rows are checked with and that docs/metrics.md is held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a row; its meaning is in docs/metrics.md."""

    name: str
    kind: type
    """str, bool, int, float (whole numbers allowed) or list."""
    unit: str
    nullable: bool = False
    """Whether the value may be null; the page says when."""
    optional: bool = False
    """Whether a row may be without it: measured on some iterations only."""


VIEWS = ("joint", "policy", "value", "entropy", "preconditioned", "trunk", "heads")
"""What the probe measures the noise scale of; each has the same keys, which the page lists once."""


def _of_view(view: str) -> tuple[Key, ...]:
    return (
        Key(f"noise/{view}/grad_sq", float, "squared norm", nullable=True, optional=True),
        Key(f"noise/{view}/trace", float, "squared norm", nullable=True, optional=True),
        Key(f"noise/{view}/scale", float, "observations", nullable=True, optional=True),
        Key(f"noise/{view}/scale_low", float, "observations", nullable=True, optional=True),
        Key(f"noise/{view}/scale_high", float, "observations", nullable=True, optional=True),
        Key(f"noise/{view}/resolved", bool, "yes or no", optional=True),
        Key(f"noise/{view}/dimension", float, "directions", nullable=True, optional=True),
        Key(f"noise/{view}/design_effect", float, "ratio", nullable=True, optional=True),
        Key(f"noise/{view}/updates_to_resolve", float, "optimizer steps", nullable=True, optional=True),
    )


KEYS: tuple[Key, ...] = (
    Key("game", str, "name"),
    Key("iteration", int, "iterations"),
    Key("observations", int, "observations"),
    Key("frames", int, "frames"),
    Key("optimizer_steps", int, "optimizer steps"),
    Key("seconds", float, "seconds"),
    Key("batch_observations", int, "observations"),
    Key("rollout_observations", int, "observations"),
    Key("batch_mode", str, "fixed or adaptive", optional=True),
    Key("num_envs", int, "environments", optional=True),
    Key("target_batch_observations", float, "observations", nullable=True, optional=True),
    Key("exchange_rate", float, "observations per optimizer step", nullable=True, optional=True),
    Key("learning_rate", float, "per optimizer step"),
    Key("policy_lag", int, "updates", optional=True),
    Key("score_mean", float, "points of the game", nullable=True),
    Key("score_episodes", int, "full games"),
    Key("human_normalised_score", float, "fraction", nullable=True),
    Key("loss/policy", float, "loss", nullable=True),
    Key("loss/value", float, "loss", nullable=True),
    Key("entropy", float, "nats", nullable=True),
    Key("approx_kl", float, "nats", nullable=True),
    Key("clip_fraction", float, "fraction", nullable=True),
    Key("explained_variance", float, "fraction", nullable=True),
    Key("grad_norm", float, "norm", nullable=True),
    Key("throughput/observations_per_s", float, "observations per second"),
    Key("throughput/sample_s", float, "seconds"),
    Key("throughput/learn_s", float, "seconds"),
    Key("noise/overhead_fraction", float, "fraction", nullable=True),
    Key("noise/grad_sq", float, "squared norm", nullable=True),
    Key("noise/trace", float, "squared norm", nullable=True),
    Key("noise/scale", float, "observations", nullable=True),
    Key("noise/scale_low", float, "observations", nullable=True),
    Key("noise/scale_high", float, "observations", nullable=True),
    Key("noise/resolved", bool, "yes or no"),
    Key("noise/updates", int, "measurements"),
    Key("noise/skipped", int, "measurements"),
    Key("noise/design_effect", float, "ratio", nullable=True),
    Key("noise/ladder", list, "observations, squared norm"),
    Key("noise/probe_every_iterations", int, "iterations", nullable=True, optional=True),
    Key("noise/probe_s", float, "seconds", optional=True),
    Key("noise/probes", int, "probes", optional=True),
    Key("noise/probes_skipped", int, "probes", optional=True),
    Key("noise/time_ladder", list, "steps, squared norm", optional=True),
    Key("noise/twice_steps_noise", float, "ratio", nullable=True, optional=True),
    Key("noise/twice_steps_noise_low", float, "ratio", nullable=True, optional=True),
    Key("noise/twice_steps_noise_high", float, "ratio", nullable=True, optional=True),
    *(key for view in VIEWS for key in _of_view(view)),
    Key("noise/resolves_first", str, "name of a view", nullable=True, optional=True),
    Key("noise/cross_terms", list, "squared norm", optional=True),
    Key("noise/layers", list, "squared norm, observations", optional=True),
    Key("critical_batch/predicted", float, "observations", nullable=True),
    Key("critical_batch/low", float, "observations", nullable=True),
    Key("critical_batch/high", float, "observations", nullable=True),
    Key("critical_batch/run_average", float, "observations", nullable=True),
    Key("critical_batch/run_average_low", float, "observations", nullable=True, optional=True),
    Key("critical_batch/run_average_high", float, "observations", nullable=True, optional=True),
    Key("critical_batch/run_average_share", float, "fraction", nullable=True, optional=True),
    Key("critical_batch/min_steps", float, "optimizer steps", optional=True),
    Key("critical_batch/min_observations", float, "observations", optional=True),
    Key("critical_batch/adaptive_gamma", float, "ratio", nullable=True, optional=True),
    Key("advice/twice_envs_step_ratio", float, "ratio", nullable=True),
    Key("advice/twice_envs_observation_ratio", float, "ratio", nullable=True),
    Key("advice/twice_steps_step_ratio", float, "ratio", nullable=True, optional=True),
    Key("advice/twice_steps_observation_ratio", float, "ratio", nullable=True, optional=True),
)
"""Every key, in the order in which the page lists them."""

WANDB_KEYS: tuple[Key, ...] = (
    Key("reference/random_score", float, "points of the game"),
    Key("reference/human_score", float, "points of the game"),
    Key("reference/cleanrl_score", float, "points of the game", optional=True),
)
"""What W&B gets beside the keys of a row: constant lines to compare with."""

BY_NAME: dict[str, Key] = {key.name: key for key in KEYS}

REQUIRED: tuple[str, ...] = tuple(key.name for key in KEYS if not key.optional)
"""Keys that every row has."""

_ENTRIES = {
    "noise/ladder": {"batch_observations", "grad_sq_norm"},
    "noise/layers": {"layer", "grad_sq", "trace", "scale"},
    "noise/time_ladder": {"steps", "trace"},
    "noise/cross_terms": {"losses", "grad_sq", "trace"},
}


def check_row(row: Mapping[str, Any]) -> None:
    """Holds a row to the list. Raises AssertionError naming the keys that are unknown, missing or of the wrong type."""
    unknown = sorted(set(row) - set(BY_NAME))
    missing = [name for name in REQUIRED if name not in row]
    assert not unknown, f"unknown keys {unknown}"
    assert not missing, f"missing keys {missing}"
    wrong = [f"{name} = {value!r}" for name, value in row.items() if not _fits(BY_NAME[name], value)]
    assert not wrong, f"values of the wrong type: {', '.join(wrong)}"
    for name, fields in _ENTRIES.items():
        strange = [entry for entry in row.get(name, ()) if set(entry) != fields]
        assert not strange, f"{name} needs entries of {sorted(fields)}, got {strange[0]!r}"


def _fits(key: Key, value: Any) -> bool:
    if value is None:
        return key.nullable
    if key.kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if key.kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, key.kind)
