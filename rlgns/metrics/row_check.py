"""Checks what is read from metrics.jsonl: a file that was damaged or edited by hand is refused, with line and key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rlgns.metrics.registry import KEYS

LARGEST = 1e30
"""Larger numbers were never logged, and their squares would overflow; numbers below its inverse count as 0."""

POSITIVE = {"batch_observations", "rollout_observations", "num_envs", "target_batch_observations"}
NOT_NEGATIVE = {"iteration", "observations", "frames", "optimizer_steps", "seconds", "score_episodes"}

ENTRIES: dict[str, dict[str, type]] = {
    "noise/by_step": {"step": int, "grad_sq": float, "trace": float},
    "noise/ladder": {"batch_observations": int, "grad_sq_norm": float},
    "noise/layers": {"layer": str, "grad_sq": float, "trace": float, "scale": float},
    "noise/time_ladder": {"steps": int, "trace": float},
}
"""What the entries of each list hold; whole numbers are positive (a step may be 0), the others may be null."""

KIND_NAMES = {int: "a number", float: "a number", bool: "true or false", str: "text", list: "a list"}


def checked_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a row with null for NaN and infinity. Keys that are not known are left out if they hold no plain value.

    Raises:
        ValueError: A value is not of its key's kind or not in its range; one line with key and value.
    """
    checked: dict[str, Any] = {}
    for name, value in row.items():
        key = KEYS.get(name)
        if key is None:
            if value is None or isinstance(value, str | bool):
                checked[name] = value
            elif isinstance(value, int | float):
                checked[name] = _number(name, value)
        elif key.kind is list and value is not None:
            checked[name] = _entries(name, value)
        else:
            checked[name] = _value(name, value, key.kind)
            _check_range(name, checked[name])
    return checked


def _value(name: str, value: Any, kind: type) -> Any:
    if value is None:
        return None
    if kind in (int, float):
        return _number(name, value)
    if not isinstance(value, kind):
        raise ValueError(f"{name}: {value!r} is not {KIND_NAMES[kind]}")
    return value


def _number(name: str, value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}: {value!r} is not a number")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if abs(value) > LARGEST:
        raise ValueError(f"{name}: {value!r} is larger than {LARGEST:g}")
    return value if abs(value) >= 1 / LARGEST else 0 * value


def _check_range(name: str, value: Any) -> None:
    if value is not None and name in POSITIVE and value <= 0:
        raise ValueError(f"{name}: {value!r} is not positive")
    if value is not None and name in NOT_NEGATIVE and value < 0:
        raise ValueError(f"{name}: {value!r} is negative")


def _entries(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name}: {value!r} is not a list")
    kinds = ENTRIES.get(name, {})
    found = []
    for entry in value:
        if not isinstance(entry, dict) or not kinds.keys() <= entry.keys() | {"scale"}:
            raise ValueError(f"{name}: {entry!r} is not an entry with {', '.join(kinds)}")
        typed = entry | {part: _value(f"{name}: {part}", entry.get(part), kind) for part, kind in kinds.items()}
        for part, kind in kinds.items():
            if kind is str and not typed[part]:
                raise ValueError(f"{name}: {part}: {typed[part]!r} is not a name")
            if kind is int and (typed[part] is None or typed[part] < (part != "step")):
                raise ValueError(f"{name}: {part}: {typed[part]!r} is too small")
        found.append(typed)
    return found
