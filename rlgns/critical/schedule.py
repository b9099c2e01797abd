r"""The batch schedule that a measured run supports: doublings, each from where the critical batch of then asks for it.

The critical batch C along the run, with its interval, is noisy; a schedule grows. So logarithms of C, and of both ends
of its interval, are fitted by numbers that never fall (isotonic least squares, which keeps their order). At every
moment the batch is that power of two times the run's which is nearest to C, in logarithms: the rule of
`rlgns.critical.verdict`, "double where C > sqrt(2) B". Where only the lower end of C is known, it is the run's own
batch, or a larger one that this end asks for. A batch larger than the run's is *sure* from where the lower end asks for
it, a smaller one from where the upper end does. Where the learning rate is below half of its highest so far
(`TunedRate`), the noise scale is larger by that alone: the batch stays.

A larger batch needs more observations for the same progress: dE at batch B is dE / (1 + B/C) in full (McCandlish et al.
2018, arXiv:1812.06162, equation 2.11). So what the run did with dE observations at B takes the schedule, at B',

    dE' = dE (1 + B'/C) / (1 + B/C)    observations and dE' / B' optimizer steps.

Its thresholds are in E', the observations of a run that follows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlgns.critical.tuned_rate import TunedRate

TASK_RATIOS = (0.1, 10.0)
"""Least and greatest ratio of average noise scale and critical batch of image classifiers and text: 1.5 to 8 in
McCandlish et al. 2018, arXiv:1812.06162, Table 1 (configs/paper/table1.csv), 0.12 to 2.1 in the sweeps of
docs/results/agreement.md, the lower ones under Adam; with some room beyond them. The two autoencoders of Table 1 have
0.05 and are left out."""

PREFIXES = ("critical_batch", "noise", "noise/at_rollout")
"""Of what a row says of now; the first that it has counts."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredPoint:
    """The critical batch at one moment of a run, in observations."""

    observations: float
    """Of the run so far."""
    batch: float
    """In use."""
    value: float
    """Best estimate; NaN where only the lower end is known."""
    low: float
    """0 where not known."""
    high: float
    """Infinite where not known."""
    steps: float = math.nan
    """Optimizer steps of the run so far; NaN: each observation was learned from once."""
    late: bool = False
    """Whether the learning rate was too low for the critical batch to count: value, low and high are unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A batch and where it begins."""

    batch: int
    begins: float
    """Observations of a run that follows the schedule."""
    measured_at: float
    """Observations of the measured run."""
    critical_batch: tuple[float, float, float]
    """Value, low and high there, as fitted."""
    sure_at: float
    """Observations of the measured run from which its interval asks for it too; NaN: not within the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """What a measured run supports."""

    stages: tuple[Stage, ...]
    observations: float
    """Of a run that follows it to the measured run's end."""
    optimizer_steps: float
    measured_observations: float
    measured_steps: float
    late_from: float = math.nan
    """Observations of the measured run from which the learning rate was first too low to count; NaN: nowhere."""


def measured_points(rows: Sequence[Mapping[str, Any]]) -> list[MeasuredPoint]:
    """Returns the moments of a run at which something is known of the critical batch.

    Args:
        rows: Of metrics.jsonl or of a host's log: `observations` and `batch_observations` (there under noise/), and
            `critical_batch/now`, `now_low`, `now_high`; where a log has no calibrated critical batch, `noise/now*`, or
            else `noise/at_rollout/now*`, over TASK_RATIOS; `learning_rate`.
    """
    points: list[MeasuredPoint] = []
    tuned = TunedRate(follows_batch=any(row.get("batch_mode") == "adaptive" for row in rows))
    for row in rows:
        observations = _number(row, "observations", "noise/observations")
        batch = _number(row, "batch_observations", "noise/batch_observations")
        prefix = next(
            (prefix for prefix in PREFIXES if any(name.startswith(f"{prefix}/now") for name in row)), PREFIXES[-1]
        )
        value, low, high = (_number(row, f"{prefix}/{name}") for name in ("now", "now_low", "now_high"))
        if prefix != PREFIXES[0]:
            least, greatest = TASK_RATIOS
            value, low, high = value / math.sqrt(least * greatest), low / greatest, high / least
        low, high = low if low > 0 else 0.0, high if high > 0 else math.inf
        value = value if value > 0 and math.isfinite(high) else math.nan
        if not (observations > 0 and batch > 0):
            continue
        late = not tuned.update(_number(row, "learning_rate"), batch)
        if points and observations <= points[-1].observations:
            continue  # hosts log their newest measurement again until the next
        late = late and bool(points)
        if late:
            value, low, high = math.nan, 0.0, math.inf
        if late or value > 0 or low > 0:
            points.append(
                MeasuredPoint(
                    observations=observations,
                    batch=batch,
                    value=value,
                    low=low,
                    high=high,
                    steps=_number(row, "optimizer_steps"),
                    late=late,
                )
            )
    return points


def schedule(
    points: Sequence[MeasuredPoint], *, sure: bool = False, least: float = 1.0, most: float = math.inf
) -> Schedule:
    """Returns the schedule of doublings that measured points support.

    Args:
        points: By observations, at least one.
        sure: Whether batches follow the interval of the critical batch, not the best estimate.
        least: Smallest batch, observations; the run's batch times a power of two is rounded up to it.
        most: Largest batch.

    Raises:
        ValueError: No points, or `most` below `least`.
    """
    if not points:
        raise ValueError("a schedule needs at least one measured critical batch")
    if not 1 <= least <= most:
        raise ValueError(f"need 1 <= least <= most, got {least} and {most}")
    base = points[0].batch
    widths = np.diff([0.0, *(point.observations for point in points)])
    value, low, high = (
        _rising([getattr(point, name) for point in points], widths) for name in ("value", "low", "high")
    )
    low = np.fmin(np.maximum.accumulate(low), value)
    high = np.fmax(high, value)
    low_power, high_power = (_powers(ends, base, least, most) for ends in (low, high))
    if sure:  # the run's own batch, unless an end asks for another
        chosen = np.where(low_power > 0, low_power, np.minimum(high_power, 0))
    else:
        unknown = np.isnan(value)
        chosen = np.where(unknown, np.maximum(low_power, 0), _powers(np.where(unknown, 1.0, value), base, least, most))
    stages: list[Stage] = []
    observations = steps = before = measured_steps = 0.0
    critical = base  # until a value is known; where only a bound is, the last value
    for i, point in enumerate(points):
        batch = max(1, round(base * 2.0 ** chosen[i]), stages[-1].batch if stages else 0)
        if not stages or batch > stages[-1].batch:
            agrees = low_power >= chosen[i] if chosen[i] > 0 else high_power <= chosen[i]
            from_here = i + np.flatnonzero(agrees[i:]) if chosen[i] else np.array([i])
            stages.append(
                Stage(
                    batch=batch,
                    begins=observations,
                    measured_at=before,
                    critical_batch=(value[i], low[i], high[i]),
                    sure_at=max(before, _begin(points, int(from_here[0]))) if len(from_here) else math.nan,
                )
            )
        new = point.observations - before
        critical = max(low[i], critical) if math.isnan(value[i]) else value[i]
        took = new * (1 + batch / critical) / (1 + point.batch / critical)
        took_steps = new / point.batch if math.isnan(point.steps) else point.steps - measured_steps
        observations, steps = observations + took, steps + took_steps * (took / new) * (point.batch / batch)
        measured_steps, before = measured_steps + took_steps, point.observations
    return Schedule(
        stages=tuple(stages),
        observations=observations,
        optimizer_steps=steps,
        measured_observations=before,
        measured_steps=measured_steps,
        late_from=next((_begin(points, i) for i, point in enumerate(points) if point.late), math.nan),
    )


def _begin(points: Sequence[MeasuredPoint], index: int) -> float:
    """Where the time that a point speaks of begins: at the point before."""
    return points[index - 1].observations if index else 0.0


def _powers(critical_batch: Array, base: float, least: float, most: float) -> Array:
    """Powers of two of the run's batch nearest to each critical batch, within the limits."""
    lowest, highest = math.ceil(math.log2(least / base) - 1e-9), math.log2(most / base)
    highest = highest if math.isinf(highest) else float(math.floor(highest + 1e-9))
    powers = np.round(np.log2(np.maximum(critical_batch, 1e-300) / base))
    return np.minimum(np.maximum(powers, lowest), max(lowest, highest))


def _rising(values: Sequence[float], weights: Array) -> Array:
    """Isotonic least squares of logarithms; zero, infinity and NaN, which are not known, stay and pull at no other.

    Pooling adjacent violators (Ayer et al. 1955), each weighted by the observations that it speaks of.
    """
    logs = np.log(np.maximum(np.asarray(values, dtype=np.float64), 1e-300))
    known = (np.asarray(values) > 0) & np.isfinite(values)
    blocks: list[list[float]] = []  # mean, weight, count
    for value, weight in zip(logs[known], np.maximum(weights[known], 1e-12), strict=True):
        blocks.append([value, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, total, count = blocks.pop()
            into = blocks[-1]
            into[0] = (into[0] * into[1] + mean * total) / (into[1] + total)
            into[1], into[2] = into[1] + total, into[2] + count
    fitted = np.exp(np.repeat([block[0] for block in blocks], [int(block[2]) for block in blocks]))
    result = np.array(values, dtype=np.float64)
    result[known] = fitted
    return result


def _number(row: Mapping[str, Any], *names: str) -> float:
    for name in names:
        value = row.get(name)
        if value not in (None, ""):
            return float(value)
    return math.nan
