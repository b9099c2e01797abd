"""The page about team sizes: noise scales at equal scores, and their growth from the smallest team to the largest."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from benchmarks.evidence_data import RESULTS as RESULTS
from benchmarks.teams_text import DONE_BY, FOUND, LEAD, NOT_TRIED
from rlgns import formatting
from rlgns.critical.factor import UNKNOWN, Factor
from rlgns.critical.run_average import AverageEstimate, RunAverage
from rlgns.report.figure import CATEGORIES, GREY, SYMBOLS, Figure, axes, line, log_axis

LEVELS = (0.6, 0.8)
"""Scores at which teams are compared, from easy to hard; the hardest decides."""

LEVEL_OF_CONFIDENCE = 0.95

Row = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A run at the first iteration with a score; noise scales in observations of players, NaN where not known."""

    players: int
    seed: int
    game_steps: float
    run_average: float
    run_average_low: float
    run_average_high: float
    now: float
    now_low: float
    now_high: float

    @property
    def resolved(self) -> bool:
        """Whether the run average has an upper end."""
        return math.isfinite(self.run_average_high)


def read_tables(paths: Sequence[Path]) -> list[Row]:
    """Returns all rows, numbers; NaN where a cell is empty."""
    rows = []
    for path in paths:
        with path.open(encoding="utf-8") as file:
            rows += [
                {name: float(cell) if cell else math.nan for name, cell in row.items()} for row in csv.DictReader(file)
            ]
    return rows


def runs_of(rows: Sequence[Row]) -> dict[tuple[int, int], list[Row]]:
    """Returns the rows of each run, by players and seed."""

    def key(row: Row) -> tuple[int, int]:
        return int(row["players"]), int(row["seed"])

    return {run: list(some) for run, some in itertools.groupby(sorted(rows, key=key), key)}


def readings(rows: Sequence[Row], level: float) -> list[Reading]:
    """Returns each run's numbers at the first row with this score; runs that never have it are left out."""
    found = []
    for (players, seed), some in runs_of(rows).items():
        first = next((row for row in some if row["score"] >= level), None)
        if first is not None:
            numbers = {name: first[name] for name in Reading.__dataclass_fields__ if name not in ("players", "seed")}
            found.append(Reading(players=players, seed=seed, **numbers))
    return found


def by_size(found: Sequence[Reading], name: str = "run_average") -> dict[int, list[float]]:
    """Returns the logarithms of a number by team size, of the runs that resolve the run average."""
    logs: dict[int, list[float]] = {}
    for reading in found:
        value = getattr(reading, name)
        if reading.resolved and value > 0:
            logs.setdefault(reading.players, []).append(math.log(value))
    return logs


def _spread(logs: dict[int, list[float]]) -> tuple[float, int]:
    """Standard deviation between runs of one size, pooled over sizes, and its degrees of freedom."""
    freedom = sum(len(some) - 1 for some in logs.values())
    squares = sum(float(np.sum((np.array(some) - np.mean(some)) ** 2)) for some in logs.values())
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def _factor(mean: float, error: float, freedom: int) -> Factor:
    half = float(stdtrit(freedom, 0.5 + LEVEL_OF_CONFIDENCE / 2)) * error if freedom else math.nan
    return Factor(value=math.exp(mean), low=math.exp(mean - half), high=math.exp(mean + half))


def mean_of(logs: dict[int, list[float]], players: int) -> Factor:
    """Returns a size's geometric mean over seeds; the interval is from the spread pooled over all sizes."""
    if players not in logs:
        return UNKNOWN
    spread, freedom = _spread(logs)
    return _factor(float(np.mean(logs[players])), spread / math.sqrt(len(logs[players])), freedom)


def growth(logs: dict[int, list[float]]) -> Factor:
    """Returns the largest team's geometric mean over the smallest's, with the same spread."""
    if len(logs) < 2:
        return UNKNOWN
    small, large = logs[min(logs)], logs[max(logs)]
    spread, freedom = _spread(logs)
    error = spread * math.sqrt(1 / len(small) + 1 / len(large))
    return _factor(float(np.mean(large) - np.mean(small)), error, freedom)


def exponent(logs: dict[int, list[float]]) -> Factor:
    """Returns the least-squares slope of ln noise scale on ln players over all runs, with Student's interval."""
    x = np.array([math.log(players) for players, some in logs.items() for _ in some])
    y = np.array([value for some in logs.values() for value in some])
    if len(logs) < 2 or len(x) < 3:
        return UNKNOWN
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    left = y - y.mean() - slope * centred
    error = math.sqrt(float(left @ left) / (len(x) - 2) / float(centred @ centred))
    half = float(stdtrit(len(x) - 2, 0.5 + LEVEL_OF_CONFIDENCE / 2)) * error
    return Factor(value=slope, low=slope - half, high=slope + half)


def pooled(rows: Sequence[Row], level: float) -> dict[int, AverageEstimate]:
    """Returns, by team size, the run average of the measured rows of all its runs, one after another, up to the score.

    Each |G|^2 and trace enters, whether or not its run resolves them.
    """
    averages: dict[int, RunAverage] = {}
    for (players, _), some in runs_of(rows).items():
        average = averages.setdefault(players, RunAverage())
        before = math.nan
        for row in some:
            if math.isfinite(row["grad_sq"]) and row["grad_sq"] != before:  # else not measured
                average.update(
                    grad_sq=row["grad_sq"], trace=row["trace"], batch=row["batch_observations"], steps=1.0,
                    learning_rate=1.0,
                )  # fmt: skip
            before = row["grad_sq"]
            if row["score"] >= level:
                break
    return {players: average.estimate(LEVEL_OF_CONFIDENCE) for players, average in averages.items()}


def table_of_levels(rows: Sequence[Row]) -> list[str]:
    """Returns a table of noise scales by score and team size."""
    lines = [
        "| score | players | runs there | steps of the game | noise scale, observations of players (95 %) | "
        "steps of the game (95 %) | all runs' moments together (95 %) | each run's | now |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    runs = runs_of(rows)
    for level in LEVELS:
        found = readings(rows, level)
        logs, together = by_size(found), pooled(rows, level)
        for players in sorted({players for players, _ in runs}):
            own = [reading for reading in found if reading.players == players]
            mean, count = mean_of(logs, players), sum(size == players for size, _ in runs)
            steps = formatting.short(float(np.mean([r.game_steps for r in own]))) if own else ""
            each = "; ".join(formatting.interval(r.run_average, r.run_average_low, r.run_average_high) for r in own)
            now = "; ".join(formatting.interval(r.now, r.now_low, r.now_high) for r in own)
            lines.append(
                f"| {level:g} | {players} | {len(own)} of {count} | {steps} | {_text(mean)} | "
                f"{_text(mean, 1 / players)} | {_together(together[players])} | {each} | {now} |"
            )
    return lines


def _together(average: AverageEstimate) -> str:
    return formatting.interval(average.value, average.low, average.high)


def _text(factor: Factor, times: float = 1.0) -> str:
    if not math.isfinite(factor.value):
        return "not known"
    low, high = (end * times if math.isfinite(end) else None for end in (factor.low, factor.high))
    return formatting.interval(factor.value * times, low, high)


def growth_table(rows: Sequence[Row]) -> list[str]:
    """Returns a table of growth factors, largest team over smallest, and exponents by score, in both units."""
    lines = [
        "| score | noise scale | players | factor (95 %) | the same in steps of the game | "
        "exponent of the team's size (95 %) |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for level in LEVELS:
        found = readings(rows, level)
        average, now = by_size(found), by_size(found, "now")
        lines += [_growth_line(level, "average up to the score", average), _growth_line(level, "now, there", now)]
        if level == max(LEVELS) and len(average) > 2:
            first, *others = sorted(average)
            for some in ((first, others[0]), others):
                part = {players: average[players] for players in some}
                lines.append(_growth_line(level, "average, not planned", part))
    return lines


def _growth_line(level: float, words: str, logs: dict[int, list[float]]) -> str:
    factor, slope = growth(logs), exponent(logs)
    ends = f"{min(logs)} to {max(logs)}" if logs else ""
    per_step = min(logs) / max(logs) if logs else math.nan
    known = math.isfinite(slope.value)
    slopes = f"{slope.value:.2f} ({slope.low:.2f} to {slope.high:.2f})" if known else "not known"
    return f"| {level:g} | {words} | {ends} | {_text(factor)} | {_text(factor, per_step)} | {slopes} |"


def figure(rows: Sequence[Row]) -> Figure:
    """Draws the noise scale against the team's size: each run's, lower bounds as triangles, and the means."""
    traces: list[dict[str, Any]] = []
    seen: list[float] = []
    for place, level in enumerate(LEVELS):
        found, color, shift = readings(rows, level), CATEGORIES[place], 1.03 if place else 1 / 1.03
        traces += _dots([r for r in found if r.resolved], f"score {level:g}, each run", color, SYMBOLS[place], shift)
        lower = [r for r in found if not r.resolved and r.run_average_low > 0]
        marker = {"color": color, "size": 8, "symbol": "triangle-up-open"}
        x, y = [r.players * shift for r in lower], [r.run_average_low for r in lower]
        traces.append(line(x, y, f"score {level:g}, at least", color, mode="markers", marker=marker))
        logs = by_size(found)
        sizes = sorted(logs)
        means = [mean_of(logs, players).value for players in sizes]
        traces.append(line([float(n) for n in sizes], means, f"score {level:g}, mean", color, mode="lines"))
        seen += [*y, *means, *(end for r in found if r.resolved for end in (r.run_average_low, r.run_average_high))]
    sizes = sorted({players for players, _ in runs_of(rows)})
    middle, centre = (math.exp(float(np.mean(np.log(some)))) for some in (means, sizes))
    slope = [middle * n / centre for n in sizes]
    traces.append(line([float(n) for n in sizes], slope, "in proportion to players", GREY, "dot"))
    layout = axes("players", "noise scale (observations of players)", hover="closest")
    layout["xaxis"] |= {"type": "log", "tickvals": sizes, "ticktext": [str(n) for n in sizes]}
    layout["yaxis"] |= log_axis(seen)
    layout["margin"] = layout["margin"] | {"t": 76}  # the legend is below the title
    return Figure(
        name="teams", title="Noise scale at equal score by team size", sentence="", traces=traces, layout=layout,
        height=400,
    )  # fmt: skip


def _dots(found: Sequence[Reading], name: str, color: str, symbol: str, shift: float) -> list[dict[str, Any]]:
    """The trace of these runs, with their intervals."""
    values = [reading.run_average for reading in found]
    error = {
        "type": "data",
        "symmetric": False,
        "array": [reading.run_average_high - reading.run_average for reading in found],
        "arrayminus": [reading.run_average - reading.run_average_low for reading in found],
        "thickness": 1,
        "width": 0,
        "color": color,
    }
    marker = {"color": color, "size": 8, "symbol": symbol}
    x = [reading.players * shift for reading in found]
    return [line(x, values, name, color, mode="markers", marker=marker, error_y=error)]


def page(rows: Sequence[Row]) -> str:
    """Returns the whole page."""
    lines = ["# The noise scale of teams", "", LEAD, "", "## What was found", "", FOUND, ""]
    lines += ["![noise scale against the number of players](teams.svg)", "", *table_of_levels(rows), ""]
    lines += [
        *growth_table(rows),
        "",
        "## What was not tried",
        "",
        *NOT_TRIED,
        "",
        "## How it was made",
        "",
        DONE_BY,
        "",
    ]
    return "\n".join(lines)
