"""Rows as W&B and TensorBoard get them: numbers alone, and no more rows than anyone can see."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, final

from rlgns.monitor.listener import Row

Flat = dict[str, float | bool]
"""A row's numbers by key."""


def flatten(row: Row) -> Flat:
    """Returns a row's numbers without nulls; list entries become keys: noise/ladder/512, noise/layers/conv1/trace."""
    flat: Flat = {}
    for key, value in row.items():
        if isinstance(value, bool | int | float):
            flat[key] = value
        elif isinstance(value, list):
            for entry in value:
                flat.update(_flatten_entry(key, entry))
    return flat


def _flatten_entry(key: str, entry: Mapping[str, Any]) -> dict[str, float]:
    if "batch_observations" in entry:
        values = {f"{key}/{entry['batch_observations']}": entry["grad_sq_norm"]}
    else:
        label, *names = entry  # the first field names the entry
        values = {f"{key}/{entry[label]}/{name}": entry[name] for name in names}
    return {name: value for name, value in values.items() if value is not None}


@final
class ThinnedRows:
    """Lets one row through per `every_s` seconds of training; which ones depends on the rows alone.

    Keys that a row lacks, such as those of the rare probe, are taken from the newest row held back before it.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next_s = -math.inf
        self._held: Flat = {}

    def passed(self, row: Row) -> None:
        """Notes a row that an earlier session let through, or left behind."""
        self._next_s = row["seconds"] + self._every_s

    def add(self, row: Row) -> Flat | None:
        """Returns what to log now that this row has come; None: nothing yet."""
        self._held |= flatten(row)
        return self.rest(row) if row["seconds"] >= self._next_s else None

    def rest(self, row: Row) -> Flat | None:
        """Returns what is held back, at the end; None: nothing. `row` is the newest one."""
        if not self._held:
            return None
        flat, self._held = self._held, {}
        self.passed(row)
        return flat
