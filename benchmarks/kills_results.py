"""Checks the files of a run that was killed often, and writes the page about it."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.kills_comparison import Comparison, Rows
from rlgns.config.load import from_dict
from rlgns.config.schema import Config
from rlgns.machine.hardware import detect
from rlgns.monitor.wandb_transaction_log import history
from rlgns.storage import checkpoint
from rlgns.storage.run_folder import RunFolder


def measurements(config: Config, iteration: int) -> int:
    """Returns the number of noise-scale measurements in so many iterations.

    Every batch is measured but the first, which has no gradient size before it, and one in every
    `noise.shuffled_every` iterations, which is split by shuffled observations.
    """
    every = config.noise.shuffled_every
    return config.agent.minibatches * iteration - (iteration // every if every else 0) - 1


def problems(folder: RunFolder, iterations: int) -> list[str]:
    """Returns what is wrong with a finished run's files; empty if they are as without kills."""
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


def page(
    command: str,
    kills: Sequence[Mapping[str, Any]],
    runs: Sequence[RunFolder],
    comparison: Comparison | None,
    wrong: Sequence[str],
) -> str:
    """Returns the page of results."""
    rows = [run.rows() for run in runs]
    commits = sorted({str(run.about()["git"]) for run in runs})
    lines = [
        "# Runs killed at random moments",
        "",
        f"    python {command}",
        "",
        f"{time.strftime('%Y-%m-%d')}, {detect().describe()}, commit {' and '.join(commits)}.",
        "",
        f"{len(runs)} run{'s'[: len(runs) > 1]} of {' and '.join(f'{len(each):,}' for each in rows)} iterations, "
        f"{sum(each[-1]['optimizer_steps'] for each in rows if each):,} optimizer steps in all, {len(kills)} kills. "
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
    def values(numbers: Sequence[float]) -> str:
        return ", ".join(f"{value:.3g}" for value in sorted(numbers))

    _, killed, others, _ = comparison.lines[0]
    return [
        f"| last third of the run | {len(killed)} killed | {len(others)} uninterrupted | first third, sd away |",
        "| --- | --- | --- | ---: |",
        *(
            f"| {name} | {values(ours)} | {values(theirs)} | {first:.1f} |"
            for name, ours, theirs, first in comparison.lines
        ),
        "",
        f"Permutation test over all statistics: p = {comparison.p:.2f}. With so many runs a "
        f"difference of {comparison.found:.1f} standard deviations between seeds in one statistic is detected with "
        "power 80 % at 5 %. The last column is the distance of the killed runs' first third from the others' last "
        "third: about what a run would show that had lost its training.",
    ]
