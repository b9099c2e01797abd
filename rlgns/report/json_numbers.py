"""The numbers of a report, for `rlgns report --json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rlgns.critical.scores import iqm, performance_profile
from rlgns.fit.gain_table import describe_gain
from rlgns.fit.table import describe_fit
from rlgns.report.adaptive_section import adaptive_gains
from rlgns.report.agreement_figure import agreements, tasks
from rlgns.report.content import ReportContent
from rlgns.report.planner import planner_goals
from rlgns.report.run_data import run_numbers
from rlgns.report.score_profile import scores_by_game
from rlgns.report.sweep_data import SweepData


def report_numbers(content: ReportContent) -> dict[str, Any]:
    """Returns every number that the page shows."""
    found: dict[str, Any] = {"runs": [run_numbers(run) for run in content.runs]}
    if content.runs:
        found["scores"] = _score_numbers(scores_by_game(content.runs))
    if content.sweeps:
        found["sweeps"] = [_sweep_numbers(sweep) for sweep in content.sweeps]
        beside = adaptive_gains(content)
        if beside:
            found["adaptive"] = [describe_gain(gain) for gain in beside]
        compared = tasks(content.sweeps)
        found["agreement"] = {name: asdict(result) for name, result in agreements(compared).items()}
        found["tasks"] = [asdict(task) for task in compared]
    return found


def _sweep_numbers(sweep: SweepData) -> dict[str, Any]:
    return {
        "label": sweep.label,
        "plan": sweep.plan,
        "fits": [describe_fit(goal) for _, goal in sweep.goals],
        "planner": planner_goals([sweep]),
        "scores": _score_numbers(scores_by_game(sweep.runs, best_of_seed=True)),
        "runs": [run_numbers(run, max_points=200) for run in sweep.runs],
    }


def _score_numbers(scores: Mapping[str, Sequence[float]]) -> dict[str, Any] | None:
    """Returns human-normalised scores by game, with interquartile mean and performance profile; None without any."""
    if not scores:
        return None
    return {
        "human_normalised": scores,
        "interquartile_mean": asdict(iqm(scores)),
        "performance_profile": asdict(performance_profile(scores)),
    }
