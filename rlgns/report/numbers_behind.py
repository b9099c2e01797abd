"""The numbers behind the page, for --json."""

from __future__ import annotations

from typing import Any

from rlgns.fit import describe_fit
from rlgns.report.data import describe
from rlgns.report.explorer import explorer_data
from rlgns.report.sources import Content
from rlgns.report.sweep_data import SweepData


def describe_all(content: Content) -> dict[str, Any]:
    """Returns everything that the page shows as numbers."""
    found: dict[str, Any] = {"runs": [describe(run) for run in content.runs]}
    if content.sweeps:
        found["sweeps"] = [_describe_sweep(sweep) for sweep in content.sweeps]
    return found


def _describe_sweep(sweep: SweepData) -> dict[str, Any]:
    return {
        "label": sweep.label,
        "plan": sweep.plan,
        "fits": [describe_fit(goal) for _, goal in sweep.goals],
        "planner": explorer_data([sweep]),
        "runs": [describe(run, most=200) for run in sweep.runs],
    }
