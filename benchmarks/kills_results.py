"""What a run that was killed often must have kept, and whether it ended like runs that nobody killed."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from rlgns.config.load import from_dict
from rlgns.config.schema import Config
from rlgns.engine import checkpoint
from rlgns.folder import RunFolder
from rlgns.hardware import detect
from rlgns.monitor.wandb_files import history

Rows = Sequence[Mapping[str, Any]]


def measurements(config: Config, iteration: int) -> int:
    """How many measurements ride along in so many iterations.

    Every batch's but those that are split by shuffled observations, one in every `noise.shuffled_every` iterations, and
    the very first, which has no size before it.
    """
    every = config.noise.shuffled_every
    return config.agent.minibatches * iteration - (iteration // every if every else 0) - 1


def problems(folder: RunFolder, iterations: int) -> list[str]:
    """What is wrong with a finished run's files; empty where all is as it would be without kills."""
    wrong, config, rows = [], from_dict(folder.config()), folder.rows()
    if [row["iteration"] for row in rows] != list(range(1, iterations + 1)):
        wrong.append(f"metrics.jsonl: {_differences([row['iteration'] for row in rows], iterations)}")
    for row in rows:
        number = row["iteration"]
        steps = config.agent.epochs * config.agent.minibatches * number
        expected = {
            "observations": config.rollout_observations * number,
            "optimizer_steps": steps,
            "noise/updates": measurements(config, number),
            "noise/skipped": 0,
        }
        wrong += [
            f"iteration {number}: {key} {row[key]}, not {value}" for key, value in expected.items() if row[key] != value
        ]
    if any(after["seconds"] <= before["seconds"] for before, after in itertools.pairwise(rows)):
        wrong.append("seconds go back")
    state = checkpoint.load_newest(folder.checkpoints_path)
    held = (state["iteration"], state["learner"]["noise"]["tracker"]["updates"]) if state else None
    if held != (iterations, measurements(config, iterations)):
        wrong.append(f"the newest checkpoint holds iteration and measurements {held}")
    return wrong + _wandb_problems(folder, rows)


def _wandb_problems(folder: RunFolder, rows: Rows) -> list[str]:
    logged = [row for path in sorted(folder.wandb_path.glob("*run-*/*.wandb")) for row in history(path)]
    steps = [row["_step"] for row in logged]
    if steps != [row["iteration"] for row in rows]:
        return [f"W&B's files: {_differences(steps, len(rows))}"]
    return [
        f"W&B's step {row['_step']} has another {key}"
        for row, source in zip(logged, rows, strict=True)
        for key in ("observations", "entropy", "noise/updates", "seconds")
        if row[key] != source[key]
    ]


def _differences(found: Sequence[int], last: int) -> str:
    twice = sorted({number for number in found if found.count(number) > 1})
    missing = sorted(set(range(1, last + 1)) - set(found))
    beyond = [number for number in found if number > last]
    return f"{len(found)} rows, missing {missing[:5]}, more than once {twice[:5]}, beyond the end {beyond[:5]}"


def _mean(key: str) -> Callable[[Rows], float]:
    return lambda rows: statistics.fmean(row[key] for row in rows if row[key] is not None)


STATISTICS: dict[str, Callable[[Rows], float]] = {
    "score": _mean("score_mean"),
    "entropy": _mean("entropy"),
    "loss/value": _mean("loss/value"),
    "explained_variance": _mean("explained_variance"),
    "log grad_norm": lambda rows: math.log(_mean("grad_norm")(rows)),
    "log noise scale (sum of trace / sum of grad_sq)": lambda rows: math.log(
        max(1.0, _mean("noise/trace")(rows) / max(1e-12, _mean("noise/grad_sq")(rows)))
    ),
}
"""Of the last third of a run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The killed run beside runs that nobody killed."""

    lines: list[tuple[str, float, list[float], float, float]]
    """Statistic; of the killed run; of the others; p; how far a run's first third is from the others' last, in the
    same units as the difference that is found in 80 % of cases."""
    smallest_p: float
    """Bonferroni's: times the number of statistics, at most 1."""
    found: float
    """Difference, in standard deviations between seeds, that is found in 80 % of cases at this level."""

    @property
    def differs(self) -> bool:
        """Whether the killed run is told from the others, at 5 % over all statistics."""
        return self.smallest_p < 0.05


def same_distribution(killed: Rows, others: Sequence[Rows]) -> Comparison:
    """Asks of each statistic whether the killed run may be one more of the others (Student's t, prediction of one)."""
    lines, count = [], len(others)
    for name, statistic in STATISTICS.items():
        theirs, ours = [statistic(_last_third(rows)) for rows in others], statistic(_last_third(killed))
        spread = statistics.stdev(theirs) * math.sqrt(1 + 1 / count)
        p = _p((ours - statistics.fmean(theirs)) / spread, count)
        start = abs(statistic(killed[: len(killed) // 3]) - statistics.fmean(theirs)) / statistics.stdev(theirs)
        lines.append((name, ours, theirs, p, start))
    smallest = min(1.0, len(lines) * min(p for *_, p, _ in lines))
    return Comparison(lines=lines, smallest_p=smallest, found=detectable(count, level=0.05 / len(lines)))


def _last_third(rows: Rows) -> Rows:
    return rows[-(len(rows) // 3) :]


def _p(t: float, count: int) -> float:
    return float(2 * stats.t.sf(abs(t), count - 1))


def detectable(count: int, *, level: float, power: float = 0.8) -> float:
    """The difference, in standard deviations, that one run against `count` others shows with this power."""
    limit, scale = stats.t.ppf(1 - level / 2, count - 1), math.sqrt(1 + 1 / count)
    sizes = (step / 10 for step in range(1, 10_000))
    return next(size for size in sizes if stats.nct.sf(limit, count - 1, size / scale) >= power)


def page(
    command: str, kills: Sequence[Mapping[str, Any]], folder: RunFolder, comparison: Comparison | None, wrong: list[str]
) -> str:
    """The page of results."""
    rows = folder.rows()
    lines = [
        "# A run killed at random moments",
        "",
        f"    python {command}",
        "",
        f"{time.strftime('%Y-%m-%d')}, {detect().describe()}, commit {folder.about()['git']}.",
        "",
        f"{len(rows)} iterations, {rows[-1]['optimizer_steps'] if rows else 0} optimizer steps, {len(kills)} kills. "
        + ("Every check holds." if not wrong else "Wrong:"),
        *(f"- {problem}" for problem in wrong),
        "",
        "| killed | times | seconds to the next new row: median | highest |",
        "| --- | ---: | ---: | ---: |",
    ]
    by_kind = defaultdict(list)
    for kill in kills:
        by_kind[kill["kind"]].append(kill.get("next_row_s"))
    for kind, seconds in by_kind.items():
        known = [value for value in seconds if value is not None] or [math.nan]
        lines.append(f"| {kind} | {len(seconds)} | {statistics.median(known):.1f} | {max(known):.1f} |")
    if comparison is not None:
        lines += ["", *_comparison_lines(comparison)]
    return "\n".join([*lines, ""])


def _comparison_lines(comparison: Comparison) -> list[str]:
    return [
        "| last third of the run | killed | uninterrupted, each | p | its own first third, sd away |",
        "| --- | ---: | --- | ---: | ---: |",
        *(
            f"| {name} | {ours:.4g} | {', '.join(f'{value:.4g}' for value in theirs)} | {p:.2f} | {start:.1f} |"
            for name, ours, theirs, p, start in comparison.lines
        ),
        "",
        f"Smallest p times the number of statistics: {comparison.smallest_p:.2f}. One run against so many others shows "
        f"a difference of {comparison.found:.1f} standard deviations between seeds in 80 % of cases, at 5 % over all "
        "statistics.",
    ]
