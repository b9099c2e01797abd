"""A figure of the report, and what all figures are made with: colours, axes, lines, bands, bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlgns import formatting

# Contrast of at least 3:1 on white and on near-black. Markers and dashes differ too, for colour-blind readers.
BLUE, ORANGE, GREEN, PURPLE, GREY = "#3b82d8", "#d06f1f", "#1f9a76", "#a05fc4", "#858b95"
PINK, OLIVE, STEEL = "#cc5a8c", "#a3871d", "#4a90a4"
CATEGORIES = (BLUE, ORANGE, GREEN, PURPLE, PINK, OLIVE, STEEL, GREY)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")

# d3's format: three digits, thousands, no trailing zeros.
THREE_DIGITS = ",.3~r"

Values = Sequence[float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One figure of the page."""

    name: str
    """Used in anchors and file names."""
    title: str
    sentence: str
    """Caption: what the figure shows, in plain words."""
    traces: list[dict[str, Any]] = field(default_factory=list)
    """plotly traces; empty: nothing to draw yet, and the sentence says why."""
    layout: dict[str, Any] = field(default_factory=dict)
    header: tuple[str, ...] = ()
    """Columns of the download."""
    table: list[tuple[Any, ...]] = field(default_factory=list)
    height: int = 360

    def __post_init__(self) -> None:
        """Leaves out traces without a point: the legend would name what is not there."""
        object.__setattr__(self, "traces", [trace for trace in self.traces if _has_a_point(trace)])


def _has_a_point(trace: dict[str, Any]) -> bool:
    if "x" not in trace or "y" not in trace:
        return True
    return any(None not in pair for pair in zip(trace["x"], trace["y"], strict=False))


def label(text: str) -> str:
    """Returns text as plotly shows it unchanged: it reads '<' as the start of a tag, and '&' as that of an entity."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def translucent(color: str, opacity: float = 0.2) -> str:
    """Returns a '#rrggbb' colour as plotly's rgba with this opacity."""
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def shades(count: int) -> list[str]:
    """Returns an ordered palette from blue through purple and pink to orange, for goals from easy to hard."""
    stops = [[int(color[start : start + 2], 16) for start in (1, 3, 5)] for color in (BLUE, PURPLE, PINK, ORANGE)]
    colors = []
    for index in range(count):
        place = index / max(1, count - 1) * (len(stops) - 1)
        left = min(int(place), len(stops) - 2)
        mixed = [round(a + (b - a) * (place - left)) for a, b in zip(stops[left], stops[left + 1], strict=True)]
        colors.append("#" + "".join(f"{part:02x}" for part in mixed))
    return colors


def positive(values: Iterable[float | None]) -> list[float | None]:
    """Returns the values that a log axis can show, None in place of the others."""
    return [value if value is not None and math.isfinite(value) and value > 0 else None for value in values]


def line(x: Values, y: Values, name: str, color: str, dash: str = "solid", **more: Any) -> dict[str, Any]:
    """Returns a line, or a marker where there is a single point."""
    mode = "lines" if sum(value is not None for value in y) > 1 else "markers"
    style = {"color": color, "width": 2, "dash": dash}
    trace = {"x": list(x), "y": list(y), "mode": mode, "name": name, "line": style, "marker": {"color": color}}
    return trace | {"hovertemplate": f"%{{y:{THREE_DIGITS}}}"} | more


def estimate(x: Values, mid: Values, low: Values, high: Values, name: str, color: str) -> list[dict[str, Any]]:
    """Returns a line in its band, with triangles where only a lower bound is known. The tooltip has the interval."""
    interval = f"%{{y:{THREE_DIGITS}}} (%{{customdata[0]:{THREE_DIGITS}}} to %{{customdata[1]:{THREE_DIGITS}}})"
    ends = [[a, b] for a, b in zip(low, high, strict=True)]
    middle = line(x, mid, name, color, customdata=ends, hovertemplate=interval)
    return [*band(x, low, high, color), middle, *bounds(x, low, high)]


def band(x: Values, low: Values, high: Values, color: str = BLUE, name: str = "interval") -> list[dict[str, Any]]:
    """Returns one filled shape per stretch that has both ends, so that gaps stay empty."""
    stretches: list[list[int]] = [[]]
    for index, ends in enumerate(zip(low, high, strict=True)):
        if None in ends:
            stretches.append([])
        else:
            stretches[-1].append(index)
    shapes = [
        {
            "x": [x[i] for i in stretch] + [x[i] for i in reversed(stretch)],
            "y": [low[i] for i in stretch] + [high[i] for i in reversed(stretch)],
            "fill": "toself",
            "fillcolor": translucent(color),
            "mode": "lines",
            "line": {"width": 0, "color": color},
            "hoverinfo": "skip",
            "name": name,
            "legendgroup": f"{name} {color}",
            "showlegend": False,
        }
        for stretch in stretches
        if len(stretch) > 1
    ]
    for shape in shapes[:1]:
        shape["showlegend"] = True
    return shapes


def bounds(x: Values, low: Values, high: Values) -> list[dict[str, Any]]:
    """Returns upward triangles where only a lower bound is known; empty if there are none."""
    only = [v if h is None else None for v, h in zip(low, high, strict=True)]
    if not any(value is not None for value in only):
        return []
    marker = {"symbol": "triangle-up", "size": 7, "color": GREY}
    hover = f"at least %{{y:{THREE_DIGITS}}}"
    return [{"x": list(x), "y": only, "mode": "markers", "name": "at least", "marker": marker, "hovertemplate": hover}]


def axes(
    x: str, y: str, *, legend: bool = True, until: float | None = None, hover: str = "x unified"
) -> dict[str, Any]:
    """Returns the layout that all figures share. Colours of text and grid come from the page's style, light or dark.

    Args:
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
        legend: Whether to show a legend.
        until: End of a horizontal axis that starts at 0, so that a run's figures align; None: the data's range.
        hover: plotly's hovermode.
    """
    clear = "rgba(0,0,0,0)"
    return {
        "paper_bgcolor": clear,
        "plot_bgcolor": clear,
        "margin": {"l": 52, "r": 14, "t": 10, "b": 44},
        "font": {"family": "system-ui, sans-serif", "size": 12.5},
        "hovermode": hover,
        "hoverlabel": {"align": "left", "namelength": -1},
        "showlegend": legend,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "itemsizing": "constant"},
        "xaxis": {"title": {"text": x, "standoff": 8}, "tickformat": "~s", "zeroline": False, "automargin": True}
        | {"nticks": 7, "hoverformat": THREE_DIGITS}
        | ({"range": [0, until * 1.01]} if until else {}),
        "yaxis": {"title": {"text": y, "standoff": 10}, "zeroline": False, "automargin": True},
    }


def log_axes(x: str, y: str, traces: Sequence[dict[str, Any]], until: float | None = None) -> dict[str, Any]:
    """Returns `axes` with a logarithmic vertical axis."""
    layout = axes(x, y, until=until)
    layout["yaxis"] |= log_axis(value for trace in traces for value in trace["y"])
    return layout


def log_axis(values: Iterable[float | None]) -> dict[str, Any]:
    """Returns a log axis with readable ticks: plotly's own are too many or too few."""
    known = [value for value in positive(values) if value is not None]
    if not known:
        return {"type": "log"}
    least, most = min(known), max(known)
    decades = math.log10(most / least)
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(most))
    steps = (1, 2, 3, 5, 7) if decades < 0.8 else (1, 2, 5) if decades < 2.2 else (1, 3) if decades < 3.5 else (1,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    margin = max(0.06 * decades, 0.03)
    if not any(least <= tick <= most for tick in ticks):
        ticks = sorted({least, most})
    span = [math.log10(least) - margin, math.log10(most) + margin]
    return {"type": "log", "tickvals": ticks, "ticktext": [_tick(tick) for tick in ticks], "range": span}


def _tick(value: float) -> str:
    return formatting.short(value) if value >= 1 else f"{value:g}"
