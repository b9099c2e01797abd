"""Figure of one iteration: signal and noise of a gradient along the optimizer steps of the first epoch."""

from __future__ import annotations

from rlgns import formatting
from rlgns.report.figure import BLUE, ORANGE, Figure, line, log_axes, positive
from rlgns.report.run_data import RunData, newest_with


def by_step_figure(run: RunData, max_points: int) -> Figure | None:
    """Draws |G|^2 and the noise of a batch's gradient by step; None where an epoch has one step or nothing is known."""
    row = newest_with(run.rows, "noise/by_step")
    entries = row["noise/by_step"][:max_points] if row else []
    if row is None or len(entries) < 2 or entries[0]["step"] != 0:
        return None
    batch = row["batch_observations"]
    steps, signal, trace = ([entry[name] for entry in entries] for name in ("step", "grad_sq", "trace"))
    noise = [value / batch for value in trace]
    sentence = (
        f"From the first to the last of {len(steps)} optimizer steps |G|^2 goes from {formatting.rounded(signal[0])} "
        f"to {formatting.rounded(signal[-1])} and tr(Sigma) from {formatting.rounded(trace[0])} to "
        f"{formatting.rounded(trace[-1])}; single points scatter and have no interval here. A |G|^2 that rises "
        "severalfold means that a step moves the parameters further by noise than the best single step would."
    )
    if any(value <= 0 for value in signal):
        sentence += " Steps whose |G|^2 is not positive, because it is not distinguishable from noise, are not drawn."
    traces = [
        line(steps, positive(signal), "|G|<sup>2</sup>, signal", BLUE, mode="lines+markers"),
        line(steps, positive(noise), "tr(Sigma) / batch, noise", ORANGE, "dash", mode="lines+markers"),
    ]
    layout = log_axes("optimizer steps taken before", "squared norm", traces)
    layout["xaxis"] |= {"tickvals": steps, "ticktext": [str(step) for step in steps]} if len(steps) <= 16 else {}
    return Figure(
        name="by-step",
        title="Along the steps of an iteration",
        sentence=sentence,
        traces=traces,
        layout=layout,
        header=("step", "grad_sq", "trace", "trace_over_batch"),
        table=list(zip(steps, signal, trace, noise, strict=True)),
        height=300,
    )
