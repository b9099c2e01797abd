"""The numbers behind the page, for --json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rlgns.critical.scores import iqm, performance_profile
from rlgns.fit.gain_table import describe_gain
from rlgns.fit.table import describe_fit
from rlgns.report.adaptive_section import adaptive_gains
from rlgns.report.agreement_figure import agreements, tasks
from rlgns.report.content import Content
from rlgns.report.explorer import explorer_data
from rlgns.report.run_data import describe
from rlgns.report.score_profile import scores_by_game
from rlgns.report.sweep_data import SweepData


def describe_all(content: Content) -> dict[str, Any]:
    """Returns everything that the page shows as numbers."""
    found: dict[str, Any] = {"runs": [describe(run) for run in content.runs]}
    if content.runs:
        found["scores"] = _describe_scores(scores_by_game(content.runs))
    if content.sweeps:
        found["sweeps"] = [_describe_sweep(sweep) for sweep in content.sweeps]
        beside = adaptive_gains(content)
        if beside:
            found["adaptive"] = [describe_gain(gain) for gain in beside]
        compared = tasks(content.sweeps)
        found["agreement"] = {name: asdict(result) for name, result in agreements(compared).items()}
        found["tasks"] = [asdict(task) for task in compared]
    return found


def _describe_sweep(sweep: SweepData) -> dict[str, Any]:
    return {
        "label": sweep.label,
        "plan": sweep.plan,
        "fits": [describe_fit(goal) for _, goal in sweep.goals],
        "planner": explorer_data([sweep]),
        "scores": _describe_scores(scores_by_game(sweep.runs, best_of_seed=True)),
        "runs": [describe(run, most=200) for run in sweep.runs],
    }


def _describe_scores(scores: Mapping[str, Sequence[float]]) -> dict[str, Any] | None:
    """Human-normalised scores by game, with their interquartile mean and performance profile."""
    if not scores:
        return None
    return {
        "human_normalised": scores,
        "interquartile_mean": asdict(iqm(scores)),
        "performance_profile": asdict(performance_profile(scores)),
    }
