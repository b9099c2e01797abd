"""The figure along the steps of an iteration."""

from __future__ import annotations

from typing import Any

import pytest

from rlgns.report.by_step_figure import by_step_figure
from rlgns.report.run_data import RunData
from rlgns.report.run_figures import run_figures
from tests.rows import make_row


def profile(*grad_sq: float) -> dict[str, Any]:
    return {"noise/by_step": [{"step": step, "grad_sq": value, "trace": 110.0} for step, value in enumerate(grad_sq)]}


def run_with(row: dict[str, Any]) -> RunData:
    return RunData(label="pong", rows=[make_row(149), make_row(150) | row])


def test_both_moments_by_step() -> None:
    run = run_with(profile(0.012, 0.09, 0.28, 0.26))
    figure = by_step_figure(run, 500)
    assert figure is not None
    batch = run.last["batch_observations"]
    signal, noise = figure.traces
    assert (signal["x"], signal["y"]) == ([0, 1, 2, 3], [0.012, 0.09, 0.28, 0.26])
    assert noise["y"] == [110.0 / batch] * 4
    assert figure.layout["yaxis"]["type"] == "log"
    assert figure.table[1] == (1, 0.09, 110.0, 110.0 / batch)
    assert "|G|^2 goes from 0.012 to 0.26 and tr(Sigma) from 110 to 110" in figure.sentence
    assert "further by noise" in figure.sentence
    assert "noise scale" not in figure.sentence and "not drawn" not in figure.sentence
    assert [made.name for made in run_figures(run, 500)][:5] == [
        "score", "noise-scale", "critical-batch", "ladder", "by-step"
    ]  # fmt: skip


def test_a_step_that_a_log_axis_cannot_show() -> None:
    figure = by_step_figure(run_with(profile(-0.002, 0.1)), 500)
    assert figure is not None
    assert figure.traces[0]["y"] == [None, 0.1] and figure.table[0][1] == -0.002
    assert "are not drawn" in figure.sentence


@pytest.mark.parametrize(
    "row",
    [{}, profile(), profile(0.1), {"noise/by_step": profile(1.0, 2.0, 3.0)["noise/by_step"][1:]}],
    ids=["older run", "nothing known", "one step", "first step not known"],
)
def test_left_out(row: dict[str, Any]) -> None:
    run = run_with(row)
    assert by_step_figure(run, 500) is None
    assert "by-step" not in [made.name for made in run_figures(run, 500)]
