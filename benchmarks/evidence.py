"""Writes docs/results/agreement.md and its figures: does the noise scale predict the critical batch?

    python -m benchmarks.evidence                           # from the tables in docs/results/agreement
    python -m benchmarks.evidence --add runs/mnist-conv     # takes a finished sweep's tables over first

`make evidence` is the first. docs/notes/contest.md is the plan.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from benchmarks.evidence_adaptive import adaptive_section
from benchmarks.evidence_atari_widths import add_widths, atari_widths
from benchmarks.evidence_batch import batch_section
from benchmarks.evidence_calibration import calibration_section
from benchmarks.evidence_contest import contest_section
from benchmarks.evidence_data import FOLDER, PLANNED, RESULTS, TaskResult, add_sweep, load_tasks
from benchmarks.evidence_figures import agreement_traces, draw
from benchmarks.evidence_growth_figures import loss_traces, score_traces
from benchmarks.evidence_sections import difficulty_section, factor_text, growth_section, widths_section
from benchmarks.evidence_summary import found_section
from benchmarks.evidence_text import ADAPTIVE, DEVIATIONS, DONE_BY, NOT_DONE, READING, TERMS
from rlgns import formatting
from rlgns.critical.factor import noise_over_critical
from rlgns.errors import ExitCode, UserError, one_line


def page(tasks: Sequence[TaskResult], folder: Path = FOLDER) -> str:
    """Returns the whole page; `folder` has the pairs of adaptive and fixed runs."""
    planned = [task for task in tasks if task.name in PLANNED]
    lines = ["# Noise scale and critical batch, task by task", "", *_state(planned), ""]
    lines += ["## What was found", "", *found_section(planned, tasks, folder), ""]
    lines += ["![critical batch against noise scale](agreement.svg)", "", READING, ""]
    lines += ["## Every goal", "", *_goals(planned), ""]
    lines += ["## Contest", "", *contest_section(planned), ""]
    lines += ["## PPO's calibration", "", *calibration_section(planned), ""]
    lines += ["## Growth", "", *growth_section(planned), ""]
    lines += ["## Noise scale by batch", "", *batch_section(planned), ""]
    lines += ["## Stronger models: width", "", *widths_section(tasks), *atari_widths(folder), ""]
    lines += ["## Difficulty", "", *difficulty_section(planned), ""]
    lines += ["## Adaptive batch", "", *adaptive_section(folder), "", ADAPTIVE, ""]
    lines += ["## Deviations from the plan", "", *DEVIATIONS, "", "## Not done", "", *NOT_DONE, ""]
    lines += ["## How it was made", "", DONE_BY, "", *_sources(tasks), ""]
    return "\n".join(wrapped for line in "\n".join(lines).split("\n") for wrapped in _wrap(line))


def _wrap(line: str) -> list[str]:
    """A line of text in lines of 120; tables, code and pictures stay as they are."""
    if line.startswith(("|", "    ", "!", "#")) or not line:
        return [line]
    return textwrap.wrap(
        line, 120, subsequent_indent="  " if line.startswith("- ") else "", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _state(tasks: Sequence[TaskResult]) -> list[str]:
    there = [task.name for task in tasks]
    missing = [name for name in PLANNED if name not in there]
    text = f"**{len(there)} of {len(PLANNED)} tasks are measured: {', '.join(there)}.**"
    if missing:
        text += f" Missing: {', '.join(missing)}. Everything below covers only the measured tasks."
    return [text, "", TERMS]


def _goals(tasks: Sequence[TaskResult]) -> list[str]:
    lines = [
        "| task | goal | critical batch (95 %) | noise scale, path average (95 %) | noise / critical (95 %) |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for task in tasks:
        for goal in task.goals:
            fit = goal.fit
            critical = formatting.interval(fit.critical_batch, fit.critical_batch_low, fit.critical_batch_high)
            lines.append(
                f"| {task.name if goal is task.goals[0] else ''} | {abs(goal.goal_score):g} | "
                f"{critical if fit.identified else fit.reason} | "
                f"{formatting.interval(goal.noise_scale, goal.noise_scale_low, goal.noise_scale_high)} | "
                f"{factor_text(noise_over_critical(goal))} |"
            )
    return [
        *lines,
        "",
        "Goals are losses; for games, scores. The ratio's interval treats the two errors as independent. All points "
        "are in the tables, none was removed; goals without a ratio are not scored.",
    ]


def _sources(tasks: Sequence[TaskResult]) -> list[str]:
    return [
        f"- {task.name}: commit {task.source['commit']}, seeds {', '.join(map(str, task.source['seeds']))}"
        for task in tasks
        if task.source
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes page and figures; returns an exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", type=Path, nargs="+", default=[], metavar="DIR", help="folders of finished sweeps")
    parser.add_argument(
        "--add-widths", type=Path, nargs="+", default=[], metavar="DIR", help="sweeps of Qbert, one width each"
    )
    parser.add_argument("--no-figures", action="store_true", help="write the page alone; figures need Chromium")
    options = parser.parse_args(arguments)
    try:
        for path in options.add:
            print(f"added {add_sweep(path)}")
        if options.add_widths:
            print(f"added {add_widths(options.add_widths, FOLDER)}")
        tasks = load_tasks(FOLDER)
        (RESULTS / "agreement.md").write_text(page(tasks))
        planned = [task for task in tasks if task.name in PLANNED]
        if not options.no_figures:
            draw(agreement_traces(planned), RESULTS / "agreement.svg")
            for name, figure in (("growth", loss_traces(planned)), ("score", score_traces(planned))):
                if figure is not None:
                    draw(figure, RESULTS / f"agreement-{name}.svg")
    except (OSError, UserError, ValueError) as mistake:
        print(f"evidence: {one_line(mistake)}", file=sys.stderr)
        return ExitCode.USER_ERROR
    print(RESULTS / "agreement.md")
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
