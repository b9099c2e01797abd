"""Figures of one run: score, noise scale, the ladder's law, critical batch against the batch in use, time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlgns import formatting
from rlgns.noise.in_row import now_in, now_key
from rlgns.report.by_step_figure import by_step_figure
from rlgns.report.figure import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    THREE_DIGITS,
    Figure,
    Values,
    axes,
    estimate,
    label,
    line,
    log_axes,
    log_axis,
    positive,
)
from rlgns.report.probe_figures import (
    design_effect_figure,
    layers_figure,
    losses_figure,
    time_ladder_figure,
    views_figure,
)
from rlgns.report.run_data import RunData, column, newest_ladder, thinned, time_split

GAMES = 100
"""Full games that `score_mean` averages over, fewer at the start."""


def run_figures(run: RunData, max_points: int) -> list[Figure]:
    """Returns a run's figures with at most `max_points` points per line; some only if there is something to draw."""
    always = (score_figure, noise_scale_figure, critical_batch_figure, ladder_figure)
    if_probed = (losses_figure, views_figure, layers_figure, design_effect_figure, time_ladder_figure)
    found = [make(run, max_points) for make in (*always, by_step_figure, *if_probed)]
    return [figure for figure in found if figure is not None and _has_something_to_show(figure)]


def _has_something_to_show(figure: Figure) -> bool:
    """Whether a figure has more than one point. What has none is said once, by the verdict."""
    return any(
        trace.get("type") == "bar" or sum(None not in pair for pair in zip(trace["x"], trace["y"], strict=True)) > 1
        for trace in figure.traces
    )


def score_figure(run: RunData, max_points: int) -> Figure:
    """Draws the mean score of the last 100 full games against observations."""
    rows = thinned(run.rows, max_points)
    x, y = column(rows, "observations"), column(rows, "score_mean")
    human = column(rows, "human_normalised_score")
    title = "Score"
    points = [(a, b) for a, b in zip(x, y, strict=True) if a is not None and b is not None]
    if not points:
        return Figure(name="score", title=title, sentence="No full game has ended yet.")
    best_at, best = max(points, key=lambda point: point[1])
    last = run.last.get("human_normalised_score")
    if len(points) == 1:
        sentence = f"The mean raw score of the full games so far is {formatting.score(best)}."
    else:
        games = int(run.last.get("score_episodes") or 0)
        window = f"last {GAMES} full games" if games >= GAMES else f"full games so far, {games} by now,"
        sentence = (
            f"The mean raw score of the {window} went from {formatting.score(points[0][1])} to "
            f"{formatting.score(points[-1][1])} over {formatting.count(points[-1][0])} observations; its best was "
            f"{formatting.score(best)} at {formatting.count(best_at)}."
        )
    if formatting.known(last):
        sentence += " On the scale where random play is 0 % and a human tester is 100 %, it ended at "
        sentence += f"{formatting.percent(last)}."
    hover = "%{y:,.1f} (human-normalised %{customdata:.0%})" if any(v is not None for v in human) else "%{y:,.1f}"
    trace = line(
        x,
        y,
        f"mean of the last {GAMES} games, fewer at first",
        BLUE,
        customdata=human,
        hovertemplate=hover + "<extra></extra>",
    )
    return Figure(
        name="score",
        title=title,
        sentence=sentence,
        traces=[trace],
        layout=axes("observations", "score (raw)", legend=False, until=x[-1]),
        header=("observations", "score_mean", "human_normalised_score"),
        table=list(zip(x, y, human, strict=True)),
        height=300,
    )


def noise_scale_figure(run: RunData, max_points: int) -> Figure:
    """Draws the smoothed noise scale with its interval, or its lower bound where no more is known."""
    rows = thinned(run.rows, max_points)
    key = now_key(run.last)
    x, mid, low, high = _estimate(rows, key, f"{key}_low", f"{key}_high")
    title = "Gradient noise scale"
    newest = now_in(run.last)
    now = formatting.interval(newest.value, newest.low, newest.high)
    if not any(value is not None for value in (*mid, *low)):
        text = "There are not enough measurements of the noise scale yet."
        return Figure(name="noise-scale", title=title, sentence=text)
    bounded = sum(h is None and v is not None for h, v in zip(high, low, strict=True))
    rate = run.last.get("learning_rate")
    finding = "it is not known" if now == formatting.MEASURING else f"it is {now} observations"
    horizon = run.last.get("noise/horizon_observations")
    recent = f"{formatting.short(horizon)} observations" if formatting.known(horizon) else "observations"
    at_rate = f", at a learning rate of {formatting.rate(rate)}" if formatting.known(rate) else ""
    sentence = (
        "The noise scale is the batch size at which a gradient is as much noise as signal. It grows while an agent "
        f"learns. At the end{at_rate}, {finding}. A falling learning rate raises it by itself."
    )
    average = _estimate(rows, *(f"noise/run_average{end}" for end in ("", "_low", "_high")))[1]
    if bounded < len(x):
        sentence += " The band is the confidence interval of the noise scale now, drift included; at the end it looks "
        sentence += f"back over about {recent}."
    if any(value is not None for value in average):
        sentence += " Dashed is the run average, which the critical batch is predicted from."
    if bounded:
        share = formatting.percent(bounded / len(x))
        sentence += f" At {share} of the points only a lower bound is known (triangles: the true value is above them)."
    traces = [
        *estimate(x, mid, low, high, "noise scale", BLUE),
        line(x, average, "run average", GREEN, dash="dash"),
    ]
    return Figure(
        name="noise-scale",
        title=title,
        sentence=sentence,
        traces=traces,
        layout=log_axes("observations", "observations", traces, until=x[-1]),
        header=("observations", "noise_scale", "noise_scale_low", "noise_scale_high", "run_average", "learning_rate"),
        table=list(zip(x, mid, low, high, average, column(rows, "learning_rate"), strict=True)),
    )


def ladder_figure(run: RunData, max_points: int) -> Figure:
    """Draws the squared gradient norm against batch size, with the law that defines the noise scale.

    The law holds by construction among the groups of one batch (docs/notes/estimators.md), so the figure explains the
    noise scale; it cannot check it.
    """
    title = "Squared gradient norm against batch size"
    measured = newest_ladder(run.rows)
    if measured is None:
        return Figure(
            name="ladder", title=title, sentence="Gradients at two or more batch sizes have not been measured yet."
        )
    fit = measured.fit
    sizes, norms = zip(*((rung.batch_observations, rung.grad_sq_norm) for rung in measured.rungs), strict=True)
    grid = [sizes[0] * (sizes[-1] / sizes[0]) ** (step / 40) for step in range(41)]
    law = [fit.law(size) for size in grid]
    rows = measured.rows
    newest = "in the newest iteration" if rows == 1 else f"over the newest {formatting.count(rows)} iterations"
    sentence = (
        "A larger batch has a smaller gradient, because its noise averages out; only the signal, |G|^2, is left in the "
        f"end. {formatting.first_upper(newest)}, the mean squared gradient norm at {len(sizes)} batch sizes follows "
        f"|G|^2 + trace / B to within {formatting.percent(fit.misfit)}, the law that defines the noise scale."
    )
    sentence += " Groups of one batch follow it whatever the gradients: a good fit does not confirm the noise scale."
    points = line(list(sizes), list(norms), "measured", ORANGE) | {
        "mode": "markers",
        "marker": {"color": ORANGE, "size": 9},
    }
    traces = [line(grid, positive(law), "|G|<sup>2</sup> + trace / B", BLUE), points]
    layout = log_axes("batch size B (observations)", "squared gradient norm", traces)
    layout["xaxis"] |= log_axis(sizes) | {
        "tickvals": list(sizes),
        "ticktext": [formatting.count(size) for size in sizes],
    }
    return Figure(
        name="ladder",
        title=title,
        sentence=sentence,
        traces=traces,
        layout=layout,
        header=("batch_observations", "grad_sq_norm", "law"),
        table=[(size, norm, fit.law(size)) for size, norm in zip(sizes, norms, strict=True)],
        height=320,
    )


def critical_batch_figure(run: RunData, max_points: int) -> Figure:
    """Draws the predicted critical batch against the batch in use."""
    title = "Critical batch against the batch in use"
    rows = thinned(run.rows, max_points)
    names = ("critical_batch/predicted", "critical_batch/low", "critical_batch/high")
    x, mid, low, high = _estimate(rows, *names)
    batch, target = column(rows, "batch_observations"), positive(column(rows, "target_batch_observations"))
    if not any(value is not None for value in (*mid, *low)):
        return Figure(name="critical-batch", title=title, sentence="The critical batch is not known yet.")
    now, used = formatting.interval(*_last(run, *names)), run.last.get("batch_observations")
    finding = "is not known" if now == formatting.MEASURING else f"is {now} observations"
    sentence = (
        f"The predicted critical batch of the run {finding}, and each optimizer step uses {formatting.count(used)}. "
        "Far below it, doubling the batch halves the steps almost for free; far above, it wastes observations. By the "
        f"trade-off of McCandlish et al. 2018: {run.advice.sentence(interval=True)}."
    )
    if run.adaptive:
        sentence += " The batch is adaptive: it follows its target, sqrt(r N), in factors of two."
    in_use = line(x, batch, "batch in use (adaptive)" if run.adaptive else "batch in use", ORANGE)
    traces = [
        *estimate(x, mid, low, high, "critical batch, predicted", BLUE),
        in_use | {"line": in_use["line"] | {"shape": "hv", "dash": "dot"}},
    ]
    if run.adaptive:
        traces.append(line(x, target, "target of the adaptive batch", GREY, dash="dash"))
    return Figure(
        name="critical-batch",
        title=title,
        sentence=sentence,
        traces=traces,
        layout=log_axes("observations", "observations", traces, until=x[-1]),
        header=("observations", "predicted", "low", "high", "batch_in_use", "target_batch"),
        table=list(zip(x, mid, low, high, batch, target, strict=True)),
    )


def time_use_figure(runs: Sequence[RunData]) -> Figure:
    """Draws where the wall-clock time went, a bar per run."""
    title = "Where the time went"
    splits = [(run.label, time_split(run.rows)) for run in runs if run.rows]
    splits = [(name, split) for name, split in splits if sum(split.values()) > 0]
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
            "y": [label(name) for name, _ in splits],
            "x": [100 * split[part] / sum(split.values()) for _, split in splits],
            "marker": {"color": color},
            "hovertemplate": f"%{{x:{THREE_DIGITS}}} %",
        }
        for part, name, color in parts
    ]
    sentences = []
    for name, split in splits:
        total = sum(split.values())
        shares = [f"{formatting.percent(split[part] / total)} {word}" for part, word, _ in parts]
        sentences.append(f"{name}: {formatting.duration(total)}, of which {', '.join(shares[:3])} and {shares[3]}.")
    layout = axes("share of wall-clock time, %", "", hover="y unified") | {"barmode": "stack"}
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
        table=[(name, *(split[part] for part, _, _ in parts)) for name, split in splits],
        height=150 + 34 * len(splits),
    )


def _estimate(rows: Sequence[Any], mid: str, low: str, high: str) -> tuple[Values, Values, Values, Values]:
    """Returns observations, estimate, low and high as a log axis can show them; no estimate without an upper end."""
    ends = positive(column(rows, high))
    middle = [m if h is not None else None for m, h in zip(positive(column(rows, mid)), ends, strict=True)]
    return column(rows, "observations"), middle, positive(column(rows, low)), ends


def _last(run: RunData, *keys: str) -> tuple[float | None, ...]:
    return tuple(run.last.get(key) for key in keys)
