"""Figures of the probe: the noise scale by loss, view and layer, and correlation within environments."""

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
    label,
    line,
    log_axes,
    log_axis,
    positive,
)
from rlgns.report.run_data import RunData, column, newest_with, thinned

VIEW_NAMES = {
    "joint": "whole loss",
    "policy": "policy loss",
    "value": "value loss",
    "entropy": "entropy loss",
    "preconditioned": "preconditioned gradient",
    "trunk": "trunk",
    "heads": "heads",
}
LOSS_STYLES = {
    "joint": (BLUE, "solid"),
    "policy": (GREEN, "dot"),
    "value": (ORANGE, "dash"),
    "entropy": (STEEL, "longdash"),
    "preconditioned": (PURPLE, "dashdot"),
}
"""Colour and dash of each view that is drawn over training."""

UNKNOWN = "not measurable, since its signal is not distinguishable from noise"

VIEW_COLUMNS = ("scale", "scale_low", "scale_high", "dimension", "design_effect", "updates_to_resolve")


def losses_figure(run: RunData, max_points: int) -> Figure | None:
    """Draws the probe's noise scale of each loss and of preconditioned gradients beside that of the whole loss."""
    rows = [row for row in run.rows if any(f"noise/{view}/scale" in row for view in LOSS_STYLES)]
    if not rows:
        return None
    rows = list(thinned(rows, max_points))
    x = column(rows, "observations")
    header, columns, traces, findings = ["observations"], [x], [], []
    losses = [(f"noise/{view}", VIEW_NAMES[view], *style) for view, style in LOSS_STYLES.items()]
    for prefix, name, color, dash in losses:
        mid, low, high = (positive(column(rows, f"{prefix}/scale{end}")) for end in ("", "_low", "_high"))
        mid = [value if end is not None else None for value, end in zip(mid, high, strict=True)]
        header += [f"{prefix}/scale", f"{prefix}/scale_low", f"{prefix}/scale_high"]
        columns += [mid, low, high]
        now = formatting.interval(mid[-1], low[-1], high[-1])
        if not any(f"{prefix}/scale" in row for row in rows):
            continue
        findings.append(f"{name} {UNKNOWN if now == formatting.MEASURING else now}")
        if not any(value is not None for value in (*mid, *low)):
            continue
        traces += [*band(x, low, high, color, name=f"{name}, interval"), line(x, mid, name, color, dash)]
    title = "Noise scale by loss, at the parameters that played"
    if not traces:
        return Figure(name="losses", title=title, sentence="No view of the noise scale can be measured yet.")
    for trace in traces:
        trace["showlegend"] = trace["mode"] != "lines" or "fill" not in trace
    sentence = (
        f"At the last probe, in observations: {'; '.join(findings)}. The noise scale of the whole loss follows the "
        "loss with the largest gradients; a loss with a larger one needs a larger batch. The probe measures before an "
        "iteration's first step, so these differ from the noise scales along the steps above."
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


def views_figure(run: RunData, max_points: int) -> Figure | None:
    """Draws the newest noise scale of every view, with its interval; the table adds dimension and design effect."""
    found = [(prefix, name, newest_with(run.rows, f"noise/{prefix}/scale_low")) for prefix, name in VIEW_NAMES.items()]
    known = [(prefix, name, row) for prefix, name, row in found if row is not None]
    if not known:
        return None
    seen = {prefix for prefix in VIEW_NAMES if any(f"noise/{prefix}/scale" in row for row in run.rows)}
    unknown = [name for prefix, name, row in found if row is None and prefix in seen]
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
    sentence = "; ".join(f"{name} {scale}" for name, scale in zip(names, text, strict=True)) + ", in observations."
    if unknown:
        sentence += f" {formatting.first_upper(' and '.join(unknown))}: {UNKNOWN}."
    if None in mid:
        sentence += " A triangle is a lower bound."
    if first is not None:
        name = VIEW_NAMES.get(first["noise/resolves_first"], first["noise/resolves_first"])
        sentence += f" The gradient that needs the fewest batches to stand out from the noise is that of the {name}."
    return Figure(
        name="views",
        title="Noise scale by view at the parameters that played, newest",
        sentence=formatting.first_upper(sentence),
        traces=traces,
        layout=layout,
        header=("view", *VIEW_COLUMNS),
        table=list(zip(names, *columns.values(), strict=True)),
        height=130 + 28 * len(names),
    )


def layers_figure(run: RunData, max_points: int) -> Figure | None:
    """Draws the newest noise scale of each layer, and its share of the noise."""
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
        return Figure(name="layers", title=title, sentence="No layer's noise scale can be measured yet.")
    (least, first), (largest, last) = min(known), max(known)
    loudest = max(zip((share or 0.0 for share in shares), names, strict=True))
    sentence = (
        f"At {formatting.count(row['observations'])} observations the noise scale runs from "
        f"{formatting.rounded(least)} ({first}) to {formatting.rounded(largest)} ({last}); {loudest[1]} carries "
        f"{formatting.percent(loudest[0] / 100)} of the noise (dot size). Point estimates, smoothed over probes."
    )
    if len(known) == 1:
        sentence = f"Only the noise scale of {first} can be measured: {formatting.rounded(least)} observations."
    elif len(known) < len(names):
        missing = len(names) - len(known)
        sentence += f" In {missing} of {len(names)} layers the signal is not distinguishable from noise."
    hover = f"%{{y}}: %{{x:{THREE_DIGITS}}} observations, %{{customdata:.0f}} % of the noise<extra></extra>"
    dots: dict[str, Any] = {"x": scales, "y": list(map(label, names)), "mode": "markers", "customdata": shares}
    dots |= {"hovertemplate": hover} | {
        "marker": {"color": BLUE, "size": [8 + 14 * ((share or 0) / 100) ** 0.5 for share in shares]}
    }
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


def design_effect_figure(run: RunData, max_points: int) -> Figure | None:
    """Draws how many correlated observations of one environment are worth one independent observation."""
    rows = list(thinned([row for row in run.rows if row.get("noise/design_effect") is not None], max_points))
    if not rows:
        return None
    x, y = column(rows, "observations"), column(rows, "noise/design_effect")
    now = y[-1] or 0.0
    meaning = (
        "the observations of one environment are as good as independent ones"
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


def time_ladder_figure(run: RunData, max_points: int) -> Figure | None:
    """Draws how the noise of a mean falls with the number of consecutive steps of one environment that it averages."""
    row = newest_with(run.rows, "noise/time_ladder")
    if row is None:
        return None
    steps = [entry["steps"] for entry in row["noise/time_ladder"]]
    # v(l), the noise of a mean over l steps; the row has l v(l), the noise per observation.
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
