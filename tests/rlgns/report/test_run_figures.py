"""Captions of one run's figures, which come from the numbers that they draw."""

from __future__ import annotations

from typing import Any

import pytest

from rlgns.report.probe_figures import layers_figure, losses_figure, time_ladder_figure, views_figure
from rlgns.report.run_data import RunData
from rlgns.report.run_figures import critical_batch_figure, ladder_figure, noise_scale_figure, run_figures, score_figure
from rlgns.report.run_section import run_blocks
from tests.rows import make_null_row, make_probed_row, make_row

AGENT = {"agent": {"algorithm": "ppo", "epochs": 4}}


def probed(last: dict[str, Any] | None = None) -> RunData:
    rows = [make_probed_row(i) if i % 4 == 0 else make_row(i) for i in range(1, 161)]
    return RunData(label="pong", rows=[*rows, *([last] if last else [])])


def test_the_probes_views_have_figures() -> None:
    run = probed()
    assert [figure.name for figure in run_figures(run, 500)][4:] == [
        "by-step", "losses", "views", "layers", "design-effect", "time-ladder"
    ]  # fmt: skip
    by_loss, newest, by_layer, along_time = (
        make(run, 500) for make in (losses_figure, views_figure, layers_figure, time_ladder_figure)
    )
    assert by_loss and newest and by_layer and along_time
    assert "value loss" in by_loss.sentence and "policy loss" in by_loss.sentence
    assert "policy loss" in newest.sentence.split("fewest batches")[1]
    assert "runs from 800 (conv1) to 4,000 (value); hidden carries 64 % of the noise" in by_layer.sentence
    assert "In 1 of 4 layers the signal is not distinguishable from noise" in by_layer.sentence
    assert "divides the noise by 2.7; independent steps would divide it by 4.0" in along_time.sentence
    assert "would leave 73 % (60 % to 90 %)" in along_time.sentence


def test_without_a_probe_there_are_no_views() -> None:
    run = RunData(label="pong", rows=[make_row(i) | {"noise/design_effect": None} for i in range(1, 9)])
    assert [figure.name for figure in run_figures(run, 500)] == ["score", "noise-scale", "critical-batch", "ladder"]


@pytest.mark.parametrize("prefix", ["policy", "value", "preconditioned"])
def test_views_that_only_have_a_bound(prefix: str) -> None:
    row = make_probed_row(160) | {f"noise/{prefix}/scale": None, f"noise/{prefix}/scale_high": None}
    row |= {f"noise/{prefix}/scale_low": 770.0}
    figure = views_figure(probed(row), 500)
    assert figure is not None
    assert "at least 770" in figure.sentence and "lower bound" in figure.sentence
    symbols = figure.traces[-1]["marker"]["symbol"]
    assert symbols.count("triangle-right") == 1


def test_a_noise_scale_that_is_lost_at_the_end_is_not_quoted() -> None:
    rows = [*(make_row(i) for i in range(1, 201)), make_null_row(201)]
    run = RunData(label="pong", rows=rows)
    assert "it is not known" in noise_scale_figure(run, 500).sentence
    assert "predicted critical batch of the run is not known" in critical_batch_figure(run, 500).sentence


def test_one_iteration_is_singular() -> None:
    run = RunData(label="pong", rows=[make_row(150)])
    assert " In the newest iteration, the mean" in ladder_figure(run, 500).sentence
    assert "of the full games so far is" in score_figure(run, 500).sentence


def test_a_learning_rate_far_from_tuned_is_a_warning() -> None:
    rows = [make_row(i) | {"clip_fraction": 0.45, "learning_rate": 1e-2} for i in range(1, 60)]
    blocks = run_blocks(RunData(label="pong", rows=rows, config=AGENT), "run-1", 200)
    (warning,) = [block for block in blocks if 'class="warning"' in block]
    assert "The learning rate looks too high" in warning and "45\u00a0%" in warning
    fine = [make_row(i) for i in range(1, 60)]
    assert not any('class="warning"' in b for b in run_blocks(RunData(label="x", rows=fine, config=AGENT), "r", 200))


def test_a_loss_that_cannot_be_measured_is_named_and_the_whole_loss_is_the_probes() -> None:
    unknown = {f"noise/policy/scale{end}": None for end in ("", "_low", "_high")}
    joint = {"noise/joint/scale": 3700.0, "noise/joint/scale_low": 3300.0, "noise/joint/scale_high": 4400.0}
    along = {"noise/scale_low": 17.0, "noise/now_low": 17.0}
    run = RunData(label="pong", rows=[make_probed_row(160) | unknown | joint | along])
    for make in (losses_figure, views_figure):
        figure = make(run, 500)
        assert figure is not None
        assert "at the parameters that played" in figure.title
        assert "olicy loss" in figure.sentence and "not measurable" in figure.sentence
    by_loss = losses_figure(run, 500)
    assert by_loss is not None and by_loss.header is not None
    assert by_loss.header[1] == "noise/joint/scale"
    drawn = {value for trace in by_loss.traces for value in trace["y"]}
    assert 3700.0 in drawn and 17.0 not in drawn


def test_a_figure_names_only_what_it_draws() -> None:
    """At the start of a run there are bounds alone: no line, no band, no average."""
    bound = {"noise/resolved": False, "noise/scale_high": None, "noise/scale_low": 9.1, "noise/now_low": 8.8}
    unknown = dict.fromkeys(["noise/now_high", "noise/run_average", "noise/run_average_low", "noise/run_average_high"])
    figure = noise_scale_figure(RunData(label="pong", rows=[make_row(i) | bound | unknown for i in (1, 2, 3)]), 500)
    assert [trace["name"] for trace in figure.traces] == ["at least"]
    assert "it is at least 8.8 observations" in figure.sentence  # as on the terminal, whose interval allows for drift
    assert "band" not in figure.sentence and "ashed" not in figure.sentence
    known = noise_scale_figure(RunData(label="pong", rows=[make_row(i) for i in range(100, 200)]), 500)
    assert {"noise scale", "run average"} <= {trace["name"] for trace in known.traces}
    assert "The band is" in known.sentence and "Dashed is" in known.sentence
