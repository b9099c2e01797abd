"""Numbers and tables as people read them: thousands, two or three digits, durations. None and NaN become a dash."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

NOTHING = "-"
"""Stands for what is not known."""

MEASURING = "measuring"
"""Stands for an interval that has not been measured yet."""


def known(value: float | None) -> bool:
    """Returns whether there is a finite number."""
    return value is not None and math.isfinite(value)


def rounded(value: float | None, digits: int = 2) -> str:
    """Returns `value` to so many significant digits, with thousands: 412.7 -> '410', 20300 -> '20,000'."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    number = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(number))))
    return f"{number:.1e}" if decimals > 6 else f"{number:,.{decimals}f}"


def count(value: float | None) -> str:
    """Returns a whole number with thousands: '1,234,567'."""
    return f"{value:,.0f}" if value is not None and math.isfinite(value) else NOTHING


def short(value: float | None) -> str:
    """Returns a whole number in few characters: '950', '12.3k', '1.25M', '10M'."""
    if value is None or not math.isfinite(value):
        return NOTHING
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * 0.9995:
            text = f"{value / unit:.3g}" if abs(value) < 999.5 * unit else f"{value / unit:.0f}"
            return f"{text}{name}"
    return f"{value:.0f}"


def compact(value: float | None) -> str:
    """Returns `value` to two digits in few characters: 412.7 -> '410', 20300 -> '20k', 1234567 -> '1.2M'."""
    if value is None or not math.isfinite(value) or abs(value) < 9950:
        return rounded(value)
    return short(float(f"{value:.1e}"))


def score(value: float | None) -> str:
    """Returns a game's score: one decimal below a thousand, thousands above."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def percent(value: float | None) -> str:
    """Returns a fraction as a percentage: 0.153 -> '15 %', 0.0153 -> '1.5 %'."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if abs(value) < 0.0005:
        return "0 %"  # not "-0.0 %"
    return f"{100 * value:.1f} %" if abs(value) < 0.0995 else f"{100 * value:,.0f} %"


def times(value: float | None) -> str:
    """Returns a ratio: 1.66 -> '1.7x', 1.04 -> '1.04x' (so that a small gain does not read as none)."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{rounded(value, 3 if 1 < abs(value) < 1.095 else 2)}x"


def rate(value: float | None) -> str:
    """Returns a learning rate to two digits: 0.00025 -> '2.5e-4'."""
    if value is None or not math.isfinite(value):
        return NOTHING
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}" if value else "0"


def plural(count: int, one: str, many: str | None = None) -> str:
    """Returns '1 goal', '3 goals'; `many` where it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def duration(seconds: float | None) -> str:
    """Returns a stretch of time: '45 s', '2 min 15 s', '12 min', '3 h 05 min', '2 d 4 h'."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds % 1 else f"{seconds:.0f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 599.5:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"


def first_upper(text: str) -> str:
    """Returns `text` with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def interval(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    number: Callable[[float | None], str] = rounded,
) -> str:
    """Returns an estimate with its interval: '410 (280 to 640)', 'at least 900', 'at most 50' or 'measuring'.

    Args:
        value: The estimate.
        low: Lower end, None where not known.
        high: Upper end, None where not known.
        number: Returns one number as text.
    """
    ends = known(low) and low is not None and low > 0, known(high)
    if ends == (True, True):
        return (
            f"{number(value)} ({number(low)} to {number(high)})" if known(value) else f"{number(low)} to {number(high)}"
        )
    if ends == (True, False):
        return f"at least {number(low)}"
    if ends == (False, True):
        return f"{number(value)} (at most {number(high)})" if known(value) else f"at most {number(high)}"
    return MEASURING


def measured(name: str, value: float, low: float, high: float, level: float) -> str:
    """Returns a measurement as one phrase: 'noise scale 1,500 (1,200 to 1,900) observations (95 %)'."""
    text = interval(value, low, high)
    return f"{name} not known yet" if text == MEASURING else f"{name} {text} observations ({100 * level:g} %)"


def aligned(rows: Sequence[Sequence[str]], *, left: int = 0) -> list[str]:
    """Returns a line per row, columns as wide as their widest cell, the first `left` of them flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
