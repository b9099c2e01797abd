"""Growth of the noise scale over the training of one game's runs."""

from __future__ import annotations

import math
from typing import Any

from rlgns import formatting
from rlgns.formatting import plural
from rlgns.report.figure import Figure, line, log_axes, log_axis, positive, shades
from rlgns.report.goal_text import growth_text
from rlgns.report.run_data import column, thinned
from rlgns.report.sweep_data import GameData


def noise_growth_figure(game: GameData, max_points: int) -> Figure | None:
    """Draws the noise scale of every run over training, a line per run, a colour per batch size; None without runs."""
    runs = [run for run in game.runs if run.rows]
    if not runs:
        return None
    title = f"{game.title}: growth of the noise scale over training"
    batches = sorted({float(run.last.get("batch_observations") or 0) for run in runs})
    colors = dict(zip(batches, shades(len(batches)), strict=True))
    traces: list[dict[str, Any]] = []
    table: list[tuple[Any, ...]] = []
    growths, seen = [], set()
    for run in runs:
        rows = thinned(run.rows, max_points)
        x, high = positive(column(rows, "observations")), positive(column(rows, "noise/scale_high"))
        y = [m if h is not None else None for m, h in zip(positive(column(rows, "noise/scale")), high, strict=True)]
        batch = float(run.last.get("batch_observations") or 0)
        resolved = [value for value in y if value is not None]
        if not resolved:
            continue
        name = f"batch {formatting.count(batch)}"
        first = name not in seen
        seen.add(name)
        traces.append(line(x, y, name, colors[batch], legendgroup=name, showlegend=first))
        table += [(run.label, batch, a, b) for a, b in zip(x, y, strict=True)]
        tenth = max(1, len(resolved) // 10)
        early, late = resolved[:tenth], resolved[-tenth:]
        growths.append((sum(late) / len(late)) / (sum(early) / len(early)))
    if not traces:
        return Figure(name="growth", title=title, sentence="No run has resolved its noise scale yet.")
    mean = math.exp(sum(map(math.log, growths)) / len(growths))
    sentence = f"From the first tenth of its resolved values to the last tenth, the noise scale {growth_text(1, mean)}"
    if len(growths) > 1:
        sentence += (
            f" (geometric mean over {plural(len(growths), 'run')}; least {formatting.times(min(growths))}, "
            f"most {formatting.times(max(growths))})"
        )
    layout = log_axes("observations", "noise scale (observations)", traces)
    layout["xaxis"] |= log_axis(value for trace in traces for value in trace["x"])
    return Figure(
        name="growth",
        title=title,
        sentence=sentence + ".",
        traces=traces,
        layout=layout | {"hovermode": "closest"},
        header=("run", "batch_observations", "observations", "noise_scale"),
        table=table,
    )
