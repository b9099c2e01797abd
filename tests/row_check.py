"""Compares rows of metrics.jsonl with the declared keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlgns.metric_key import Key
from rlgns.metrics.registry import KEYS, REQUIRED


def check_row(row: Mapping[str, Any]) -> None:
    """Raises AssertionError naming the keys of a row that are unknown, missing or of the wrong type."""
    unknown = sorted(set(row) - set(KEYS))
    missing = [name for name in REQUIRED if name not in row]
    assert not unknown, f"unknown keys {unknown}"
    assert not missing, f"missing keys {missing}"
    wrong = [f"{name} = {value!r}" for name, value in row.items() if not _fits(KEYS[name], value)]
    assert not wrong, f"values of the wrong type: {', '.join(wrong)}"
    for name, value in row.items():
        fields = set(KEYS[name].entry_fields)
        strange = [entry for entry in value if set(entry) != fields] if fields else []
        assert not strange, f"{name} needs entries of {sorted(fields)}, got {strange[0]!r}"


def _fits(key: Key, value: Any) -> bool:
    if value is None:
        return key.nullable
    if key.kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if key.kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, key.kind)
