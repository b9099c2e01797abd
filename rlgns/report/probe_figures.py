"""What the probe adds: the noise scale loss by loss and layer by layer, correlation within environments."""

from __future__ import annotations

from typing import Any

from rlgns import formatting
from rlgns.report.figure import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    STEEL,
    THREE_DIGITS,
    Figure,
    axes,
    band,
    line,
    log_axes,
    log_axis,
    positive,
)
from rlgns.report.run_data import RunData, column, newest_with, thinned

VIEWS = (
    ("noise/policy", "policy loss", GREEN, "dot"),
    ("noise/value", "value loss", ORANGE, "dash"),
    ("noise/entropy", "entropy loss", STEEL, "longdash"),
    ("noise/preconditioned", "preconditioned by the optimizer", PURPLE, "dashdot"),
)
"""Prefix of the keys, name, colour and dash of each view beside the whole loss."""


VIEW_NAMES = (
    ("joint", "whole loss"),
    ("policy", "policy loss"),
    ("value", "value loss"),
    ("entropy", "entropy loss"),
    ("preconditioned", "preconditioned gradient"),
    ("trunk", "trunk"),
    ("heads", "heads"),
)
VIEW_COLUMNS = ("scale", "scale_low", "scale_high", "dimension", "design_effect", "updates_to_resolve")


def losses(run: RunData, most: int) -> Figure | None:
    """The noise scale of each loss alone and of preconditioned gradients, beside the whole."""
    rows = [row for row in run.rows if any(f"{prefix}/scale" in row for prefix, *_ in VIEWS)]
    if not rows:
        return None
    rows = list(thinned(rows, most))
    x = column(rows, "observations")
    header, columns, traces, said = ["observations"], [x], [], []
    for prefix, name, color, dash in (("noise", "whole loss", BLUE, "solid"), *VIEWS):
        mid, low, high = (positive(column(rows, f"{prefix}/scale{end}")) for end in ("", "_low", "_high"))
        mid = [value if end is not None else None for value, end in zip(mid, high, strict=True)]
        header += [f"{prefix}/scale", f"{prefix}/scale_low", f"{prefix}/scale_high"]
        columns += [mid, low, high]
        now = formatting.interval(mid[-1], low[-1], high[-1])
        if not any(value is not None for value in (*mid, *low)):
            continue
        said.append(f"{name} {'not resolved' if now == formatting.MEASURING else now}")
        traces += [*band(x, low, high, color, name=f"{name}, interval"), line(x, mid, name, color, dash)]
    title = "Noise scale by loss"
    if not traces:
        return Figure(name="losses", title=title, sentence="No view of the noise scale is resolved yet.")
    for trace in traces:
        trace["showlegend"] = trace["mode"] != "lines" or "fill" not in trace
    sentence = (
        f"At the last probe, in observations: {'; '.join(said)}. A loss with a larger noise scale gains more from a "
        "larger batch; the whole is dominated by the loss with the larger gradients."
    )
    return Figure(
        name="losses",
        title=title,
        sentence=sentence,
        traces=traces,
        layout=log_axes("observations", "observations", traces, until=x[-1]),
        header=tuple(header),
        table=list(zip(*columns, strict=True)),
    )


def views(run: RunData, most: int) -> Figure | None:
    """The newest noise scale of every view, with its interval, noise dimension and design effect."""
    found = [(prefix, name, newest_with(run.rows, f"noise/{prefix}/scale_low")) for prefix, name in VIEW_NAMES]
    known = [(prefix, name, row) for prefix, name, row in found if row is not None]
    if not known:
        return None
    names = [name for _, name, _ in known]
    columns = {key: [row.get(f"noise/{prefix}/{key}") for prefix, _, row in known] for key in VIEW_COLUMNS}
    low, high = positive(columns["scale_low"]), positive(columns["scale_high"])
    mid = [m if h is not None else None for m, h in zip(positive(columns["scale"]), high, strict=True)]
    text = [formatting.interval(*ends) for ends in zip(mid, low, high, strict=True)]
    traces: list[dict[str, Any]] = [
        {"x": [a, b], "y": [name, name], "mode": "lines", "line": {"color": BLUE, "width": 3}, "hoverinfo": "skip"}
        for name, a, b in zip(names, low, high, strict=True)
        if b is not None
    ]
    points = [m if m is not None else v for m, v in zip(mid, low, strict=True)]
    symbols = ["circle" if m is not None else "triangle-right" for m in mid]
    dots = {"x": points, "y": names, "mode": "markers", "customdata": text, "hovertemplate": "%{y}: %{customdata}"}
    traces.append(dots | {"marker": {"color": BLUE, "size": 10, "symbol": symbols}, "name": ""})
    layout = axes("noise scale (observations)", "", legend=False, hover="closest")
    layout["xaxis"] |= log_axis([*points, *high])
    layout["yaxis"] |= {"type": "category", "autorange": "reversed"}
    first = newest_with(run.rows, "noise/resolves_first")
    sentence = "; ".join(f"{name} {said}" for name, said in zip(names, text, strict=True)) + ", in observations."
    if None in mid:
        sentence += " A triangle is a lower bound."
    if first is not None:
        titles = dict(VIEW_NAMES)
        told = titles.get(first["noise/resolves_first"], first["noise/resolves_first"])
        sentence += f" The view that needs the fewest batches to be told from noise is that of the {told}."
    return Figure(
        name="views",
        title="Noise scale by view, newest",
        sentence=sentence[:1].upper() + sentence[1:],
        traces=traces,
        layout=layout,
        header=("view", *VIEW_COLUMNS),
        table=list(zip(names, *columns.values(), strict=True)),
        height=130 + 28 * len(names),
    )


def layers(run: RunData, most: int) -> Figure | None:
    """The newest noise scale of each layer, and each one's share of the noise."""
    row = newest_with(run.rows, "noise/layers")
    if row is None:
        return None
    entries = row["noise/layers"]
    names = [entry["layer"] for entry in entries]
    scales = positive(entry.get("scale") for entry in entries)
    total = sum(entry["trace"] or 0.0 for entry in entries)
    shares = [100 * (entry["trace"] or 0.0) / total if total > 0 else None for entry in entries]
    known = [(scale, name) for scale, name in zip(scales, names, strict=True) if scale is not None]
    title = "Noise scale by layer"
    if not known:
        return Figure(name="layers", title=title, sentence="No layer's noise scale is resolved yet.")
    (least, first), (largest, last) = min(known), max(known)
    loudest = max(zip((share or 0.0 for share in shares), names, strict=True))
    sentence = (
        f"At {formatting.count(row['observations'])} observations the noise scale runs from "
        f"{formatting.rounded(least)} ({first}) to {formatting.rounded(largest)} ({last}); {loudest[1]} carries "
        f"{formatting.percent(loudest[0] / 100)} of the noise (the size of a dot)."
    )
    if len(known) == 1:
        sentence = f"Only {first} has a noise scale that is resolved: {formatting.rounded(least)} observations."
    elif len(known) < len(names):
        missing = len(names) - len(known)
        sentence += f" {missing} of {len(names)} layers {'is' if missing == 1 else 'are'} not resolved."
    hover = f"%{{y}}: %{{x:{THREE_DIGITS}}} observations, %{{customdata:.0f}} % of the noise<extra></extra>"
    dots: dict[str, Any] = {"x": scales, "y": names, "mode": "markers", "customdata": shares, "hovertemplate": hover}
    dots |= {"marker": {"color": BLUE, "size": [8 + 14 * ((share or 0) / 100) ** 0.5 for share in shares]}}
    layout = axes("noise scale (observations)", "", legend=False, hover="closest")
    layout["xaxis"] |= log_axis(scales)
    layout["yaxis"] |= {"type": "category", "autorange": "reversed"}
    return Figure(
        name="layers",
        title=title,
        sentence=sentence,
        traces=[dots],
        layout=layout,
        header=("layer", "scale", "grad_sq", "trace", "share_of_noise_percent"),
        table=[
            (entry["layer"], entry.get("scale"), entry["grad_sq"], entry["trace"], share)
            for entry, share in zip(entries, shares, strict=True)
        ],
        height=140 + 26 * len(names),
    )


def design_effect(run: RunData, most: int) -> Figure | None:
    """How many correlated observations of one environment are worth one independent one."""
    rows = list(thinned([row for row in run.rows if row.get("noise/design_effect") is not None], most))
    if not rows:
        return None
    x, y = column(rows, "observations"), column(rows, "noise/design_effect")
    now = y[-1] or 0.0
    meaning = (
        "observations of one environment are as good as independent ones"
        if now < 1.1
        else f"{formatting.rounded(now)} observations of one environment are worth one independent one"
    )
    sentence = (
        f"At the end the design effect is {formatting.rounded(now)}: {meaning}. A batch that is split without regard "
        "to environments would hide this, and report too small a noise scale."
    )
    return Figure(
        name="design-effect",
        title="Correlation within an environment: the design effect",
        sentence=sentence,
        traces=[line(x, y, "design effect", BLUE)],
        layout=axes("observations", "design effect", legend=False, until=x[-1]) | {"hovermode": "x"},
        header=("observations", "design_effect"),
        table=list(zip(x, y, strict=True)),
        height=280,
    )


def time_ladder(run: RunData, most: int) -> Figure | None:
    """How the noise falls with the steps of one environment that are averaged: longer rollouts or more environments."""
    row = newest_with(run.rows, "noise/time_ladder")
    if row is None:
        return None
    steps = [entry["steps"] for entry in row["noise/time_ladder"]]
    # v(l), the noise of a mean over l steps; the row has l v(l), what an observation would count for.
    noise = positive(
        None if entry["trace"] is None else entry["trace"] / entry["steps"] for entry in row["noise/time_ladder"]
    )
    title = "More environments, or longer rollouts?"
    if len(steps) < 2 or noise[-1] is None or noise[0] is None:
        return Figure(name="time-ladder", title=title, sentence="The noise along time is not resolved yet.")
    independent = [noise[0] * steps[0] / step for step in steps]
    sentence = (
        f"Averaging {steps[-1]} consecutive steps of an environment in place of {steps[0]} divides the noise by "
        f"{formatting.rounded(noise[0] / noise[-1])}; independent steps would divide it by "
        f"{formatting.rounded(steps[-1] / steps[0])}."
    )
    left, low, high = (row.get(f"noise/twice_steps_noise{end}") for end in ("", "_low", "_high"))
    if left is not None:
        ends = "" if low is None or high is None else f" ({formatting.percent(low)} to {formatting.percent(high)})"
        sentence += (
            f" Twice the steps would leave {formatting.percent(left)}{ends} of a batch's noise, twice the environments "
            "leave 50 %."
        )
    traces = [
        line(steps, noise, "measured", BLUE, mode="lines+markers"),
        line(steps, independent, "if steps were independent", ORANGE, "dash"),
    ]
    layout = log_axes("consecutive steps of one environment", "noise of their mean", traces)
    layout["xaxis"] |= log_axis(steps) | {"tickvals": steps, "ticktext": [formatting.count(step) for step in steps]}
    return Figure(
        name="time-ladder",
        title=title,
        sentence=sentence,
        traces=traces,
        layout=layout,
        header=("steps", "noise_of_their_mean", "if_independent"),
        table=list(zip(steps, noise, independent, strict=True)),
        height=300,
    )
