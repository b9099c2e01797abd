"""What a run keeps of each rollout, and the noise scale of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from rlgns.critical.run_average import RunAverage
from rlgns.noise.interval import Ratio, ratio_interval

PREFIX = "noise/at_rollout"

LOGGED = {
    "grad_sq": f"{PREFIX}/grad_sq",
    "trace": f"{PREFIX}/trace",
    "updates": "noise/updates",
    "scale": f"{PREFIX}/scale",
    "scale_low": f"{PREFIX}/scale_low",
    "scale_high": f"{PREFIX}/scale_high",
    "run_average": "noise/run_average",
    "run_average_low": "noise/run_average_low",
    "run_average_high": "noise/run_average_high",
}
"""Columns of a row that come from a host's logger, and their entries there."""


def row_of(logged: Mapping[str, Any], *, observations: int, score: float) -> dict[str, float]:
    """Returns a row; what was not logged is NaN."""
    row = {"observations": float(observations), "score": score}
    return row | {name: number(logged.get(entry)) for name, entry in LOGGED.items()}


def number(value: Any) -> float:
    """Returns a number; NaN for None."""
    return math.nan if value is None else float(value)


FIRST = 2
"""Rollouts left out at the beginning: RLlib's learner measures the third first."""


def measured(rows: Sequence[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """Returns the rows with a new measurement, from the third on: loggers repeat the newest where nothing is new."""
    return [
        row
        for number, row in enumerate(rows)
        if number >= FIRST and row["updates"] > np.nan_to_num(rows[number - 1]["updates"])
    ]


def noise_scale(rows: Sequence[Mapping[str, float]], level: float = 0.95) -> Ratio:
    """Returns the ratio of the mean moments of some measured rows, each a rollout of one size, and its interval."""
    traces, grads = (np.array([row[name] for row in rows]) for name in ("trace", "grad_sq"))
    if len(rows) < 2:
        return Ratio(value=math.nan, low=math.nan, high=math.inf)
    trace, grad_sq = float(traces.mean()), float(grads.mean())
    alike = np.ones(len(rows))
    found = ratio_interval(alike, alike, traces, grads, numerator=trace, denominator=grad_sq, level=level)
    return Ratio(value=trace / grad_sq if grad_sq > 0 else math.nan, low=found.low, high=found.high)


def run_average(rows: Sequence[Mapping[str, float]], batch_observations: float, level: float = 0.95) -> Ratio:
    """Returns the average noise scale of some measured rows, as adapters form it along a run."""
    average = RunAverage()
    for row in rows:
        average.update(
            grad_sq=row["grad_sq"], trace=row["trace"], batch=batch_observations, steps=1, learning_rate=None
        )
    found = average.estimate(level)
    return Ratio(value=found.value, low=found.low, high=found.high)


def ratio_of(one: Ratio, other: Ratio) -> Ratio:
    """Returns the ratio of two independent estimates; its ends by the distances of theirs, in logarithms."""
    if not (one.value > 0 and other.value > 0):
        return Ratio(value=math.nan, low=math.nan, high=math.inf)

    def end(above: float, below: float) -> float:
        return math.hypot(math.log(above / one.value), math.log(other.value / below)) if below > 0 else math.inf

    value = one.value / other.value
    down = math.hypot(math.log(one.value / one.low), math.log(other.high / other.value)) if one.low > 0 else math.inf
    return Ratio(value=value, low=value * math.exp(-down), high=value * math.exp(end(one.high, other.low)))


def over_seeds(values: Sequence[float], level: float = 0.95) -> Ratio:
    """Returns the geometric mean of the seeds' noise scales; its interval is from their spread (Student's t)."""
    logs = np.log([value for value in values if value > 0])
    if len(logs) < len(values) or len(logs) < 2:
        return Ratio(value=math.nan, low=math.nan, high=math.inf)
    half = float(stdtrit(len(logs) - 1, 0.5 + level / 2)) * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    centre = float(logs.mean())
    return Ratio(value=math.exp(centre), low=math.exp(centre - half), high=math.exp(centre + half))


def ratio_over_seeds(ones: Sequence[float], others: Sequence[float], level: float = 0.95) -> Ratio:
    """Returns the ratio of two hosts' geometric means over seeds, with Welch's interval."""
    logs = [np.log([value for value in values if value > 0]) for values in (ones, others)]
    if any(len(found) < max(2, len(values)) for found, values in zip(logs, (ones, others), strict=True)):
        return Ratio(value=math.nan, low=math.nan, high=math.inf)
    parts = np.array([found.var(ddof=1) / len(found) for found in logs])
    error = math.sqrt(parts.sum())
    freedom = parts.sum() ** 2 / sum(part**2 / (len(found) - 1) for part, found in zip(parts, logs, strict=True))
    half, centre = float(stdtrit(freedom, 0.5 + level / 2)) * error, float(logs[0].mean() - logs[1].mean())
    return Ratio(value=math.exp(centre), low=math.exp(centre - half), high=math.exp(centre + half))
