"""The two ways a command ends early: the user's mistake (exit code 2) and a fault after saving (exit code 3)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """The user's mistake, told in one line: the value, what is allowed, the nearest match. Exit code 2."""


class FaultError(Exception):
    """Something outside the program failed while a run was under way; what was trained is saved. Exit code 3."""


def nearest(value: str, allowed: Iterable[str]) -> str:
    """Returns ' (did you mean X?)' for the allowed name closest to `value`, or an empty string."""
    matches = difflib.get_close_matches(value.lower(), list(allowed), n=1, cutoff=0.5)
    return f" (did you mean {matches[0]}?)" if matches else ""
