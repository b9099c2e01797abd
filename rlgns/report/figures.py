"""The report's figures: what plotly draws, the sentence that says it in words, and the numbers for download."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlgns import numbers
from rlgns.report.data import RunData, column, fit_ladder, thinned, time_split

# Middle tones that can be told apart, also by the colour-blind, on white and on near-black.
BLUE, ORANGE, GREEN, GREY = "#3b82d8", "#d9772b", "#2a9d75", "#8a8f98"
BAND = "rgba(59,130,216,0.22)"

Values = Sequence[float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One figure of the page."""

    name: str
    """For anchors and file names."""
    title: str
    sentence: str
    """What it shows, in plain words."""
    traces: list[dict[str, Any]] = field(default_factory=list)
    """plotly traces; empty: nothing to draw yet, the sentence says why."""
    layout: dict[str, Any] = field(default_factory=dict)
    header: tuple[str, ...] = ()
    """Columns of the download."""
    table: list[tuple[Any, ...]] = field(default_factory=list)
    height: int = 340


def run_figures(run: RunData, most: int) -> list[Figure]:
    """Returns a run's figures, with at most `most` points per line."""
    makers: tuple[Callable[[RunData, int], Figure], ...] = (score, noise_scale, ladder, critical_batch)
    return [make(run, most) for make in makers]


def score(run: RunData, most: int) -> Figure:
    """Mean score of the last 100 full games against observations."""
    rows = thinned(run.rows, most)
    x, y = column(rows, "observations"), column(rows, "score_mean")
    title = "Score"
    points = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    if not points:
        return Figure(name="score", title=title, sentence="No full game has ended yet.")
    best_at, best = max(points, key=lambda point: point[1])
    human = run.last.get("human_normalised_score")
    sentence = (
        f"The mean raw score of the last 100 full games went from {numbers.score(points[0][1])} to "
        f"{numbers.score(points[-1][1])} over {numbers.count(points[-1][0])} observations; its best was "
        f"{numbers.score(best)} at {numbers.count(best_at)}."
    )
    if numbers.known(human):
        sentence += (
            f" On the scale where random play is 0 % and a human tester is 100 %, it ended at {numbers.percent(human)}."
        )
    return Figure(
        name="score",
        title=title,
        sentence=sentence,
        traces=[_line(x, y, "mean of the last 100 games", BLUE)],
        layout=_axes("observations", "score (raw)", legend=False, until=x[-1]),
        header=("observations", "score_mean", "human_normalised_score"),
        table=list(zip(x, y, column(rows, "human_normalised_score"), strict=True)),
    )


def noise_scale(run: RunData, most: int) -> Figure:
    """The smoothed noise scale with its interval; where only a lower bound is known, the bound."""
    rows = thinned(run.rows, most)
    x, mid, low, high = _estimate(rows, "noise/scale", "noise/scale_low", "noise/scale_high")
    title = "Gradient noise scale"
    now = numbers.interval(*_last_estimate(run, "noise/scale", "noise/scale_low", "noise/scale_high"))
    if not any(value is not None for value in (*mid, *low)):
        text = "The noise scale has not been measured yet, or not enough to say anything of it."
        return Figure(name="noise-scale", title=title, sentence=text)
    bounded = sum(h is None and v is not None for h, v in zip(high, low, strict=True))
    sentence = (
        f"At the end the noise scale is {now} observations, the batch size at which a gradient is as much noise as "
        "signal. The band is the confidence interval."
    )
    if bounded:
        share = numbers.percent(bounded / len(x))
        sentence += f" In {share} of the points only a lower bound could be told (triangles: the truth is above them)."
    traces = [*_band(x, low, high), _line(x, mid, "noise scale", BLUE), *_bounds(x, low, high)]
    for part, color in (("policy", GREEN), ("value", ORANGE)):
        values = _positive(column(rows, f"noise/{part}/scale"))
        if any(value is not None for value in values):
            traces.append(_line(x, values, f"{part} loss alone", color, dash="dot"))
    return Figure(
        name="noise-scale",
        title=title,
        sentence=sentence,
        traces=traces,
        layout=_log_axes("observations", "observations", traces, until=x[-1]),
        header=("observations", "noise_scale", "noise_scale_low", "noise_scale_high"),
        table=list(zip(x, mid, low, high, strict=True)),
    )


def ladder(run: RunData, most: int) -> Figure:
    """Squared gradient norm against batch size, with the law that defines the noise scale."""
    title = "Does the law hold? Squared gradient norm against batch size"
    fit = fit_ladder(run.rows)
    if fit is None:
        return Figure(
            name="ladder", title=title, sentence="Gradients at two or more batch sizes have not been measured yet."
        )
    sizes, norms = fit.batch_observations, fit.grad_sq_norm
    grid = [sizes[0] * (sizes[-1] / sizes[0]) ** (step / 40) for step in range(41)]
    law = [fit.law(size) for size in grid]
    scale = f"a noise scale of {numbers.rounded(fit.noise_scale)} observations"
    sentence = (
        f"Over the newest {numbers.count(fit.rows)} iterations, the mean squared gradient norm at {len(sizes)} "
        f"batch sizes follows |G|^2 + trace / B to within {numbers.percent(fit.misfit)}; the fitted line says "
        f"{scale if fit.noise_scale else 'that no gradient can be told from the noise yet (|G|^2 is not positive)'}."
    )
    if fit.misfit > 0.1:
        sentence += " That is a poor fit: take the noise scale of this stretch with care."
    points = {
        "x": list(sizes),
        "y": list(norms),
        "mode": "markers",
        "name": "measured",
        "marker": {"color": ORANGE, "size": 9},
    }
    traces = [_line(grid, _positive(law), "|G|<sup>2</sup> + trace / B", BLUE), points]
    layout = _log_axes("batch size B (observations)", "squared gradient norm", traces)
    layout["xaxis"] |= {"type": "log", "tickvals": list(sizes), "tickformat": ",d"}
    return Figure(
        name="ladder",
        title=title,
        sentence=sentence,
        traces=traces,
        layout=layout,
        header=("batch_observations", "grad_sq_norm", "law"),
        table=[(size, norm, fit.law(size)) for size, norm in zip(sizes, norms, strict=True)],
    )


def critical_batch(run: RunData, most: int) -> Figure:
    """The predicted critical batch against the batch in use."""
    title = "Critical batch against the batch in use"
    rows = thinned(run.rows, most)
    names = ("critical_batch/predicted", "critical_batch/low", "critical_batch/high")
    x, mid, low, high = _estimate(rows, *names)
    average = _positive(column(rows, "critical_batch/run_average"))
    batch = column(rows, "batch_observations")
    if not any(value is not None for value in (*mid, *low)):
        return Figure(name="critical-batch", title=title, sentence="The critical batch is not known yet.")
    now, used = numbers.interval(*_last_estimate(run, *names)), run.last["batch_observations"]
    sentence = (
        f"At the end the predicted critical batch is {now} observations and each optimizer step uses "
        f"{numbers.count(used)}. By the trade-off of McCandlish et al. 2018: {run.advice.sentence(interval=True)}."
    )
    traces = [
        *_band(x, low, high),
        _line(x, mid, "critical batch, predicted", BLUE),
        *_bounds(x, low, high),
        _line(x, average, "average of the run so far", GREEN, dash="dash"),
        _line(x, batch, "batch in use", ORANGE) | {"line": {"color": ORANGE, "width": 2, "shape": "hv"}},
    ]
    return Figure(
        name="critical-batch",
        title=title,
        sentence=sentence,
        traces=traces,
        layout=_log_axes("observations", "observations", traces, until=x[-1]),
        header=("observations", "predicted", "low", "high", "run_average", "batch_in_use"),
        table=list(zip(x, mid, low, high, average, batch, strict=True)),
    )


def time_use(runs: Sequence[RunData]) -> Figure:
    """Where the wall-clock time went, a bar per run."""
    title = "Where the time went"
    splits = [(run.label, time_split(run.rows)) for run in runs if run.rows]
    splits = [(label, split) for label, split in splits if sum(split.values()) > 0]
    if not splits:
        return Figure(name="time", title=title, sentence="No iteration has ended yet.")
    parts = (
        ("sample", "playing", BLUE),
        ("learn", "learning", GREEN),
        ("measure", "measuring", ORANGE),
        ("other", "the rest", GREY),
    )
    traces: list[dict[str, Any]] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": [label for label, _ in splits],
            "x": [100 * split[part] / sum(split.values()) for _, split in splits],
            "marker": {"color": color},
            "hovertemplate": "%{x:.1f} %",
        }
        for part, name, color in parts
    ]
    sentences = []
    for label, split in splits:
        total = sum(split.values())
        shares = [f"{numbers.percent(split[part] / total)} {name}" for part, name, _ in parts]
        sentences.append(f"{label}: {numbers.duration(total)}, of which {', '.join(shares[:3])} and {shares[3]}.")
    layout = _axes("share of wall-clock time, %", "") | {"barmode": "stack"}
    layout["xaxis"] |= {"range": [0, 100], "tickformat": ""}
    layout["yaxis"] |= {"autorange": "reversed", "type": "category"}
    layout["legend"] |= {"traceorder": "normal"}
    return Figure(
        name="time",
        title=title,
        sentence=" ".join(sentences),
        traces=traces,
        layout=layout,
        header=("run", *(f"{part}_s" for part, _, _ in parts)),
        table=[(label, *(split[part] for part, _, _ in parts)) for label, split in splits],
        height=150 + 34 * len(splits),
    )


def _estimate(rows: Sequence[Any], mid: str, low: str, high: str) -> tuple[Values, Values, Values, Values]:
    """Observations, estimate, low and high: what a logarithmic axis can show, and no estimate without an upper end."""
    ends = _positive(column(rows, high))
    middle = [m if h is not None else None for m, h in zip(_positive(column(rows, mid)), ends, strict=True)]
    return column(rows, "observations"), middle, _positive(column(rows, low)), ends


def _last_estimate(run: RunData, *keys: str) -> tuple[float | None, ...]:
    return tuple(run.last.get(key) for key in keys)


def _positive(values: Values) -> list[float | None]:
    return [value if value is not None and value > 0 else None for value in values]


def _line(x: Values, y: Values, name: str, color: str, dash: str = "solid") -> dict[str, Any]:
    # A single point has no line: it needs a marker to be seen.
    mode = "lines" if sum(value is not None for value in y) > 1 else "markers"
    line = {"color": color, "width": 2, "dash": dash}
    return {"x": list(x), "y": list(y), "mode": mode, "name": name, "line": line, "marker": {"color": color}}


def _band(x: Values, low: Values, high: Values) -> list[dict[str, Any]]:
    """One filled shape per stretch with both ends, so that nothing is drawn across a gap."""
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
            "fillcolor": BAND,
            "mode": "lines",
            "line": {"width": 0},
            "hoverinfo": "skip",
            "name": "confidence interval",
            "legendgroup": "band",
            "showlegend": False,
        }
        for stretch in stretches
        if len(stretch) > 1
    ]
    for shape in shapes[:1]:
        shape["showlegend"] = True
    return shapes


def _bounds(x: Values, low: Values, high: Values) -> list[dict[str, Any]]:
    """Triangles pointing up where only a lower bound is known."""
    only = [v if h is None else None for v, h in zip(low, high, strict=True)]
    if not any(value is not None for value in only):
        return []
    marker = {"symbol": "triangle-up", "size": 7, "color": GREY}
    return [{"x": list(x), "y": only, "mode": "markers", "name": "at least", "marker": marker}]


def _axes(x: str, y: str, *, legend: bool = True, until: float | None = None) -> dict[str, Any]:
    """The layout that all figures share; colours of text and grid come from the page's style, light or dark.

    Args:
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
        legend: Whether the lines need names.
        until: End of a horizontal axis that starts at 0, so that a run's figures line up; None: as the data have it.
    """
    clear = "rgba(0,0,0,0)"
    return {
        "paper_bgcolor": clear,
        "plot_bgcolor": clear,
        "margin": {"l": 56, "r": 12, "t": 8, "b": 44},
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "hovermode": "x unified" if legend else "x",
        "showlegend": legend,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "xaxis": {"title": {"text": x}, "tickformat": "~s", "zeroline": False, "automargin": True, "nticks": 8}
        | ({"range": [0, until * 1.01]} if until else {}),
        "yaxis": {
            "title": {"text": y, "standoff": 12},
            "zeroline": False,
            "automargin": True,
        },
    }


def _log_axes(x: str, y: str, traces: Sequence[dict[str, Any]], until: float | None = None) -> dict[str, Any]:
    """As `_axes`, with a logarithmic vertical axis whose ticks read as numbers: plotly's own are crowded or bare."""
    layout = _axes(x, y, until=until)
    values = [value for trace in traces for value in trace["y"] if value is not None]
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1, 2, 5) if math.log10(max(values) / min(values)) < 2.2 else (1,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    layout["yaxis"] |= {"type": "log", "tickvals": ticks, "ticktext": [_tick(tick) for tick in ticks]}
    return layout


def _tick(value: float) -> str:
    return numbers.short(value) if value >= 1 else f"{value:g}"
