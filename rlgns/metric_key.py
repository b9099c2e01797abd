"""One logged number: its name, unit, meaning, formula, source, and when it is null or absent."""

from __future__ import annotations

from dataclasses import dataclass

OLDER_RUNS = "older runs"
"""Value of `Key.absent_from` for a key that older runs lack."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key of a row of metrics.jsonl. All texts are Markdown and go to docs/metrics.md as they stand."""

    name: str
    kind: type
    """str, bool, int, float (whole numbers allowed) or list."""
    unit: str
    meaning: str
    formula: str = ""
    source: str = ""
    """Where formula or definition come from, as '[M] eq. 2.9'; docs/metrics.md lists the papers."""
    null_when: str = ""
    """Condition under which the value is null; empty: never."""
    absent_from: str = ""
    """Rows or runs that lack the key; empty: every row has it."""
    entry_fields: tuple[str, ...] = ()
    """Fields of each entry of a list."""

    @property
    def nullable(self) -> bool:
        """Whether the value may be null."""
        return bool(self.null_when)

    @property
    def optional(self) -> bool:
        """Whether a row may lack the key."""
        return bool(self.absent_from)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyGroup:
    """Keys that share a section of docs/metrics.md."""

    title: str
    text: str = ""
    """Markdown between the heading and the keys."""
    keys: tuple[Key, ...]
