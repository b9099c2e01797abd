"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from rlgns import formatting


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (412.7, "410"),
        (20_349, "20,000"),
        (0.0123, "0.012"),
        (9.96, "10"),
        (1.04, "1.0"),
        (0, "0"),
        (-412, "-410"),
        (1e-9, "1.0e-09"),
    ],
)
def test_rounded(value: float, text: str) -> None:
    assert formatting.rounded(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(950, "950"), (12_345, "12.3k"), (999_900, "1M"), (1_250_000, "1.25M"), (10_000_000, "10M"), (0, "0")],
)
def test_short(value: float, text: str) -> None:
    assert formatting.short(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (3.21, "3.2 s"),
        (45, "45 s"),
        (135, "2 min 15 s"),
        (720, "12 min"),
        (11_100, "3 h 05 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert formatting.duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1.66, "1.7x"), (1.04, "1.04x"), (2, "2.0x"), (0.5, "0.50x"), (12.3, "12x")]
)
def test_times(value: float, text: str) -> None:
    assert formatting.times(value) == text


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((412, 281, 644), "410 (280 to 640)"),
        ((None, 900, None), "at least 900"),
        ((5000, 900, math.inf), "at least 900"),
        ((None, None, None), "measuring"),
        ((math.nan, math.nan, math.nan), "measuring"),
        ((20, -5, 50), "20 (at most 50)"),
    ],
)
def test_interval(ends: tuple[float | None, ...], text: str) -> None:
    assert formatting.interval(*ends) == text


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((230, 80, 700), "noise scale 230 (80 to 700) observations (95 %)"),
        ((math.nan, 0.17, math.inf), "noise scale at least 0.17 observations (95 %)"),
        ((900, 0.17, math.inf), "noise scale at least 0.17 observations (95 %)"),
        ((math.nan, 0, math.inf), "noise scale not known yet"),
        ((math.nan, math.nan, math.inf), "noise scale not known yet"),
    ],
)
def test_measured(ends: tuple[float, float, float], text: str) -> None:
    assert formatting.measured("noise scale", *ends, level=0.95) == text


def test_others() -> None:
    assert formatting.score(-20.66) == "-20.7"
    assert formatting.score(12_345.6) == "12,346"
    assert formatting.percent(0.153) == "15 %"
    assert formatting.percent(0.0153) == "1.5 %"
    assert formatting.percent(-0.00001) == formatting.percent(0.0) == "0 %"
    assert formatting.count(1_234_567) == "1,234,567"


@pytest.mark.parametrize("name", ["rounded", "short", "duration", "times", "score", "percent", "count"])
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_not_known(name: str, value: float | None) -> None:
    assert getattr(formatting, name)(value) == "-"


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("game", "goal"), ("pong", "-19"), ("a", "10,000")]
    assert formatting.aligned(rows) == ["game    goal", "pong     -19", "   a  10,000"]
    assert formatting.aligned(rows, left=1) == ["game    goal", "pong     -19", "a     10,000"]
