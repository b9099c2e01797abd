"""Memory in the benchmark: how much each contender holds, what ours consists of, and whether it grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import stats

from benchmarks.throughput_processes import Memory

MB = 1e6
BLOCKS = 20
"""A run is cut into so many blocks of equal length: their means are nearly independent, single samples are not."""

GOAL_MINUTES = 120
"""Length of the run over which memory must not grow."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Growth:
    """Straight line through a run's memory, least squares over block means."""

    minutes: float
    samples: int
    bytes_per_hour: float
    low: float
    high: float
    """95 % interval of the slope, bytes an hour."""

    first: float
    last: float
    """Mean of the first and the last block, bytes."""


def growth(seconds: Sequence[float], held: Sequence[float], *, blocks: int = BLOCKS) -> Growth | None:
    """Fits a run's memory.

    Args:
        seconds: When each sample was taken, rising.
        held: Bytes.
        blocks: Most blocks; fewer where there are fewer samples.

    Returns:
        The slope with its interval by Student's t; None with fewer than three samples.
    """
    count = min(blocks, len(seconds))
    if count < 3:
        return None
    at = np.array([part.mean() for part in np.array_split(np.asarray(seconds, float), count)])
    means = np.array([part.mean() for part in np.array_split(np.asarray(held, float), count)])
    line = stats.linregress(at, means)
    half = stats.t.ppf(0.975, count - 2) * line.stderr
    return Growth(
        minutes=(seconds[-1] - seconds[0]) / 60,
        samples=len(seconds),
        bytes_per_hour=3600 * line.slope,
        low=3600 * (line.slope - half),
        high=3600 * (line.slope + half),
        first=float(means[0]),
        last=float(means[-1]),
    )


def memory_table(memory: Mapping[str, Memory]) -> list[str]:
    """Returns every contender's memory as Markdown."""
    lines = [
        "| contender | its learning process, peak MB | all its processes, their own MB | processes |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, held in memory.items():
        lines.append(f"| {name} | {held.main_peak / MB:,.0f} | {held.all_own / MB:,.0f} | {held.processes} |")
    return lines


def explanation(resident: Mapping[str, int], held: Mapping[str, int]) -> list[str]:
    """Returns what our memory consists of: what each stage added, and what the configuration predicts.

    Args:
        resident: Bytes resident in the learning process after each stage.
        held: Bytes that training must hold, counted from the configuration.
    """
    before, parts = 0, []
    for stage, size in resident.items():
        parts.append(f"{stage} {(size - before) / MB:+,.0f}")
        before = size
    counted = ", ".join(f"{name} {size / MB:,.1f}" for name, size in held.items())
    return [
        f"- Our learning process, MB by stage: {'; '.join(parts)}.",
        f"- Counted from the configuration, MB: {counted}; together {sum(held.values()) / MB:,.0f}. The rest: "
        "libraries, emulators (in the first iteration), what is freed and kept for the next pass.",
    ]


def by_block(own: Sequence[Mapping[str, int]], *, blocks: int = BLOCKS) -> list[dict[str, float]]:
    """Returns the means of blocks of samples, bytes by process; a process that does not run holds nothing."""
    names = list(dict.fromkeys(name for sample in own for name in sample))
    parts = np.array_split(np.arange(len(own)), min(blocks, len(own)))
    return [{name: float(np.mean([own[i].get(name, 0) for i in part])) for name in names} for part in parts]


def by_process_line(own: Sequence[Mapping[str, int]]) -> str:
    """Returns a line with the private memory of every process, mean of the first and of the last block."""
    first, *_, last = [*by_block(own)[:1], *by_block(own)]
    by_size = sorted(last, key=lambda name: -last[name])
    return (
        "- By process, MB, first block and last: "
        + "; ".join(f"{name} {first[name] / MB:,.1f}, {last[name] / MB:,.1f}" for name in by_size)
        + "."
    )


def growth_line(what: str, found: Growth) -> str:
    """Returns a line about the slope."""
    return (
        f"- Memory of {what} over {found.minutes:.1f} minutes of training: {found.first / MB:,.1f} MB in "
        f"the first of {BLOCKS} blocks, {found.last / MB:,.1f} in the last; slope {found.bytes_per_hour / MB:+,.1f} MB "
        f"an hour (95 % interval {found.low / MB:+,.1f} to {found.high / MB:+,.1f}, {found.samples} samples)."
    )
