"""Converts values from YAML or the command line to the type that the configuration declares."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any, get_args, get_origin

from rlgns.errors import UserError

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def convert(name: str, value: Any, kind: Any) -> Any:
    """Converts `value` to `kind`, one of int, float, bool, str and tuple[X, ...].

    Args:
        name: The key or option, for the message.
        value: From YAML, or text; a list may be text with commas.
        kind: The declared type.

    Raises:
        UserError: `value` cannot be converted; names key, value and expected type in one line.
    """
    if get_origin(kind) is tuple:
        return _tuple(name, value, get_args(kind)[0])
    convert_one = {int: _int, float: _float, bool: _bool, str: _str}[kind]
    return convert_one(name, value)


LARGEST_INT = 2**63 - 1
"""Larger whole numbers do not fit into torch's and NumPy's."""

MOST_ENTRIES = 1000
"""Of a list."""


def _tuple(name: str, value: Any, kind: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    elif not isinstance(value, list | tuple):
        value = [value]
    if len(value) > MOST_ENTRIES:
        raise UserError(f"{name}: {len(value):,} entries are more than the {MOST_ENTRIES:,} that a list may have")
    return tuple(convert(name, item, kind) for item in value)


def _int(name: str, value: Any) -> int:
    number = _whole(name, value)
    if abs(number) > LARGEST_INT:
        raise UserError(f"{name}: {value!r} is too large; whole numbers go up to {LARGEST_INT}")
    return number


def _whole(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
        if (scaled := _scaled(value)) is not None:
            return scaled
    # people write 3e6 for a whole number
    if isinstance(value, str | float):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if number.is_integer():
            return int(number)
    raise UserError(f"{name}: {value!r} is not a whole number")


def _scaled(text: str) -> int | None:
    """Returns 1500000 for '1.5M' and 200000 for '200k'; None for anything else, also where it is no whole number."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)([kKmMgG])", text.strip())
    if found is None:
        return None
    number = Fraction(found[1]) * {"k": 10**3, "m": 10**6, "g": 10**9}[found[2].lower()]
    return int(number) if number.denominator == 1 else None


def _float(name: str, value: Any) -> float:
    # YAML 1.1 reads 1e-5 (no dot) as text
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number):
            return number
    raise UserError(f"{name}: {value!r} is not a finite number")


def _bool(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _WORDS:
        return _WORDS[value.lower()]
    raise UserError(f"{name}: {value!r} is not true or false")


def _str(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    # YAML 1.1 turns an unquoted off, no or 2024 into something else
    raise UserError(f"{name}: {value!r} is not text; put it in quotes")
