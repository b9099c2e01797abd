"""The page about noise scale and critical batch: it is that of its tables, and its parts are right on made-up ones."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from benchmarks.evidence import page
from benchmarks.evidence_data import (
    AS_SWEPT,
    RESULTS,
    TaskResult,
    group_of,
    load_tasks,
    width_of,
    with_candidate,
)
from benchmarks.evidence_figures import calibrated
from benchmarks.evidence_growth import BIN, critical_factor, noise_by_loss, noise_factor
from benchmarks.evidence_sections import families, widths_section
from benchmarks.evidence_widths import noise_at_step, trend
from rlgns.critical.points import fit_points
from rlgns.report.agreement_figure import Task
from tests.benchmarks.evidence_points import points


def test_the_page_is_that_of_its_tables() -> None:
    assert (RESULTS / "agreement.md").read_text() == page(load_tasks()), "run make evidence"


def test_growth_is_the_ratio_of_last_to_first() -> None:
    first, last = fit_points([*points(-1, 20, 30), *points(-0.1, 100, 300, seed=1)])
    noise, critical = noise_factor(first, last), critical_factor(first, last)
    assert noise.low < 10 < noise.high and noise.high / noise.low < 1.5
    assert critical.low < 5 < critical.high < 10
    unresolved = dataclasses.replace(
        last, points=tuple(dataclasses.replace(p, noise_scale_high=None) for p in last.points)
    )
    assert math.isnan(noise_factor(first, unresolved).value)


def test_noise_by_loss_is_trace_over_squared_gradient_of_each_bin() -> None:
    rows = tuple(
        {"run": "a", "batch_observations": 8, "step": step, "smoothed": loss, "grad_sq": 1.0, "trace": trace}
        for step, loss, trace in ((1, 1.6, 5.0), (2, 1.6, 10.0), (3, 0.9, 40.0), (4, 0.9, 60.0))
    )
    task = TaskResult(name="toy", group="toy", fits={AS_SWEPT: ()}, rows=rows, source={})
    (high, of_high), (low, of_low) = noise_by_loss(task)
    assert high / BIN**0.5 <= 1.6 < high * BIN**0.5 and low / BIN**0.5 <= 0.9 < low * BIN**0.5
    assert of_high == 10.0, "the first row sets the size"
    assert 40 < of_low < 60


def test_a_candidate_takes_the_place_of_the_sweeps_noise_scale() -> None:
    some = points(-1, 20, 30)
    lines = [
        {"run": str(p.run), "goal_score": "-1.0", "candidate": name, "noise_scale": f"{value}", "noise_scale_low": "1",
         "noise_scale_high": ""}
        for p in some for name, value in (("hessian", 7), ("path", 8))
    ]  # fmt: skip
    assert {(p.noise_scale, p.noise_scale_high) for p in with_candidate(some, lines, "hessian")} == {(7.0, None)}
    with pytest.raises(ValueError, match="contest of toy has no line of b8-s0 at -1: measure it again"):
        with_candidate(some, lines[2:], "path")


def test_tasks_of_one_kind_are_one_group() -> None:
    names = ("digits-sgd", "digits-adam-w16", "words-lstm-64", "mnist-conv-w4", "mnist-vae", "breakout")
    assert [group_of(name) for name in names] == ["digits", "digits", "words", "mnist-conv", "mnist-vae", "breakout"]
    assert [width_of(name) for name in names] == [None, 16, None, 4, None, None]


def test_dots_are_calibrated_by_the_other_groups() -> None:
    dots = [
        Task(name=name, group=name, predicted=predicted, measured=10.0, predicted_ends=(predicted / 2, None))
        for name, predicted in (("a", 100.0), ("b", 1000.0), ("c", 10.0))
    ]
    moved = calibrated(dots, {"a": "one", "b": "one", "c": "two"})
    assert [dot.predicted for dot in moved] == pytest.approx([100, 1000, 10 * 10**-1.5])
    assert moved[2].predicted_ends == (pytest.approx(5 * 10**-1.5), None)


def test_a_folder_without_anything_else_gives_tasks(tmp_path: Path) -> None:
    (tmp_path / "toy.csv").write_text(
        "game,goal_score,batch_observations,optimizer_steps,observations\n"
        + "".join(f"toy,-1,{batch},{100 * (1 + 20 / batch)},{100 * (batch + 20)}\n" for batch in (8, 16, 32, 64))
    )
    (task,) = load_tasks(tmp_path)
    assert (
        task.goals[0].fit.critical_batch == pytest.approx(20)
        and task.rows == ()
        and not task.errors[0].predicted["path"] > 0
    )


def at_width(width: int, critical: float, noise: float) -> TaskResult:
    """A task at one width: critical batch of its one goal, and the noise scale of all rows."""
    rows = tuple(
        {"run": f"s{seed}", "batch_observations": 64.0, "step": step, "grad_sq": 1.0, "trace": noise * (1 + seed) ** 2}
        for seed in (0, 1)
        for step in range(1, 121)
    )
    return TaskResult(
        name=f"toy-w{width}", group="toy", fits={AS_SWEPT: tuple(fit_points(points(-1, critical, noise)))}, rows=rows,
        source={"width": width, "commit": "", "seeds": [0, 1]},
    )  # fmt: skip


def test_widths_of_one_task_are_one_family_whether_the_name_has_its_own_width_or_not() -> None:
    names = {"words-lstm-64": 64, "words-lstm-32": 32, "words-lstm-32-w16": 16, "words-lstm-64-longer": 64}
    names |= {"digits-sgd": 64, "digits-sgd-w256": 256}
    tasks = [dataclasses.replace(at_width(width, 20, 30), name=name) for name, width in names.items()]
    found = {base: [task.name for task in some] for base, some in families(tasks).items()}
    assert found == {
        "words-lstm": ["words-lstm-32-w16", "words-lstm-32", "words-lstm-64"],
        "digits-sgd": ["digits-sgd", "digits-sgd-w256"],
    }


def test_stronger_models_at_equal_loss_and_at_equal_steps() -> None:
    several = [at_width(16, 10, 30.0), at_width(64, 40, 50.0), at_width(256, 160, 70.0)]
    goal, slope = trend(several)
    assert goal == -1 and slope.low < slope.value < slope.high
    assert slope.value == pytest.approx(1.0, abs=0.15) and slope.high - slope.low < 0.6
    assert math.isnan(trend(several[:1])[1].value)
    assert noise_at_step(several[0], 30) == pytest.approx(60.0), "geometric mean of 30 and 120"
    assert math.isnan(noise_at_step(several[0], 300)), "the runs had ended"
    text = "\n".join(widths_section(several[::-1]))
    assert text.index("| toy | 16 | 1 |") < text.index("| toy | 256 | 1 |")
    assert "- toy, loss 1: " in text and "| toy | 16 | 60 | 60 |  |" in text


def test_a_slope_has_the_interval_of_its_ends() -> None:
    """Two widths: the slope is that of the line, and its ends those of the worst pair if one end is exact."""
    exact, other = at_width(16, 10, 30.0), at_width(64, 40, 30.0)
    fit = dataclasses.replace(
        exact.goals[0].fit, critical_batch=10.0, critical_batch_low=10.0, critical_batch_high=10.0
    )
    goal = dataclasses.replace(exact.goals[0], fit=fit)
    _, slope = trend([dataclasses.replace(exact, fits={AS_SWEPT: (goal,)}), other])
    ends = [
        math.log(end / 10) / math.log(4)
        for end in (other.goals[0].fit.critical_batch_low, other.goals[0].fit.critical_batch_high)
    ]
    assert (slope.low, slope.high) == pytest.approx(tuple(ends))
