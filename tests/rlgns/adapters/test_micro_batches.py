"""Moments from a host's accumulated micro-batches against a twin that holds every observation's gradient."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from benchmarks.evidence_data import load_tasks
from rlgns.adapters.advice import sentence
from rlgns.adapters.micro_batches import SPARSE, TWICE, MicroBatches
from rlgns.adapters.record import NoiseScaleRecord
from rlgns.adapters.steps import StepNoiseScale, row_count, rows_of
from rlgns.critical.schedule import TASK_RATIOS
from rlgns.noise.moments import Moments
from tests.gloo import run_worker
from tests.reference.noise import observation_gradients
from tests.rlgns.adapters.micro_batches_worker import RANKS, SIZES, data, losses, network


def slow_moments_of_sizes(groups: list[np.ndarray], *, equal: bool) -> tuple[float, float]:
    """(grad_sq, trace) of groups of observations' gradients that differ in size, written out pair by pair.

    `equal`: each group counts alike; else by its observations.
    """
    means, sizes = [group.mean(0) for group in groups], [len(group) for group in groups]
    pairs = [(i, j) for i in range(len(groups)) for j in range(len(groups)) if i != j]
    weights = [1.0 if equal else sizes[i] * sizes[j] for i, j in pairs]
    products = [float(means[i] @ means[j]) for i, j in pairs]
    grad_sq = sum(w * p for w, p in zip(weights, products, strict=True)) / sum(weights)
    if equal:
        excess = sum(float(mean @ mean) for mean in means) / len(means) - grad_sq
        return grad_sq, excess / (sum(1 / size for size in sizes) / len(sizes))
    centre = sum(n * mean for n, mean in zip(sizes, means, strict=True)) / sum(sizes)
    spread = sum(n * float((mean - centre) @ (mean - centre)) for n, mean in zip(sizes, means, strict=True))
    return grad_sq, spread / (len(groups) - 1)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("ranks")
    run_worker("tests.rlgns.adapters.micro_batches_worker", folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(RANKS)]


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("views", [False, True])
def test_two_ranks_measure_before_the_averaging_and_the_clipping(ranks: list[Any], counted: bool, views: bool) -> None:
    model = network()
    groups = []
    for rank in range(RANKS):
        for k, size in enumerate(SIZES[rank]):
            rows = data(rank, k, 0)
            groups.append(observation_gradients(model, lambda i, rows=rows: losses(model, rows[i : i + 1])[0], size))
    grad_sq, trace = slow_moments_of_sizes(groups, equal=not counted)
    for rank in range(RANKS):
        plain, watched = ranks[rank][counted, views]
        moments, share, largest = watched["moments"][0]
        assert largest == 5 + RANKS - 1
        assert moments.grad_sq == pytest.approx(grad_sq, rel=1e-10)
        assert moments.trace == pytest.approx(trace, rel=1e-10)
        assert share.observations == sum(map(sum, SIZES))
        for name, value in plain["state"].items():
            assert torch.equal(value, watched["state"][name])
            assert torch.equal(value, ranks[0][counted, views][0]["state"][name])


def test_gradients_in_parts_and_sparse_ones_are_named() -> None:
    layer, table = nn.Linear(3, 3), nn.Embedding(4, 3, sparse=True)
    for model, loss, problem in (
        (
            layer,
            lambda: checkpoint(
                layer, checkpoint(layer, torch.ones(2, 3, requires_grad=True), use_reentrant=True), use_reentrant=True
            ).sum(),
            TWICE,
        ),
        (table, lambda: table(torch.tensor([1, 2])).sum(), SPARSE),
    ):
        batches = MicroBatches(model)
        for _ in range(2):
            with batches.micro_batch():
                loss().backward()
            batches.close(share=1.0, observations=1.0)
        moments, share = batches.finish(equal=True)
        assert moments is None and share.problem == problem


def test_one_micro_batch_has_no_moments_and_nan_is_not_counted() -> None:
    model = nn.Linear(2, 1)
    batches = MicroBatches(model)
    for values in ([1.0], [1.0, math.nan]):
        batches.start()
        for value in values:
            with batches.micro_batch():
                (model(torch.ones(1, 2)).sum() * value).backward()
            batches.close(share=1.0, observations=1.0)
        moments, _ = batches.finish(equal=True)
        assert moments is None if len(values) == 1 else not moments.is_finite


def test_rows_of_nested_batches() -> None:
    batch = {"x": torch.arange(6).reshape(3, 2), "names": ["a", "b", "c"], "more": (torch.arange(3), torch.tensor(7.0))}
    assert row_count(batch) == 3
    part = rows_of(batch, np.array([0, 2]), 3)
    assert part["x"].tolist() == [[0, 1], [4, 5]] and part["names"] == ["a", "c"]
    assert part["more"][0].tolist() == [0, 2] and part["more"][1] == 7


def test_a_step_of_one_row_warns_once_and_groups_are_checked() -> None:
    model = nn.Linear(2, 1)
    noise = StepNoiseScale(model, overhead=0.999)

    def steps() -> None:
        for _ in range(6):
            noise.add(observations=1, rows=1, share=1.0)
            noise.finish(
                equal=True, unit="rows", learning_rate=0.1, loss=lambda rows: (model(torch.ones(1, 2)).sum(), 1.0)
            )

    with pytest.warns(RuntimeWarning, match=r"one micro-batch of 1 row\(s\), which cannot be split") as seen:
        steps()
    assert len(seen) == 1
    assert noise.sentence() == "Noise scale not known yet: nothing was measured." and noise.entries() == {}
    with pytest.raises(ValueError, match="groups must be at least 2, got 1"):
        StepNoiseScale(model, groups=1)


def average(low: float, value: float, high: float, batch: float, now_high: float = 13000) -> dict[str, Any]:
    return {
        "noise/now": value,
        "noise/now_low": low,
        "noise/now_high": now_high,
        "noise/run_average": value,
        "noise/run_average_low": low,
        "noise/run_average_high": high,
        "batch_observations": batch,
        "batch_rows": round(batch / 32),
    }


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (average(8000, 10000, 12000, 512), "tokens, 310 rows of data; a step has 512: double it."),
        (average(8000, 10000, 12000, 2048), "about 10,000 (8,000 to 12,000) tokens, 310 rows of data; a step has"),
        (average(8000, 10000, 12000, 262144), "a step has 262,144: halve it."),
        (average(8000, 10000, 12000, 262144, 30000), "a step has 262,144: keep it, since it may be larger by now."),
        (average(8000, 10000, math.inf, 16384), "at least 8,000 tokens; a step has 16,384: not known yet whether"),
        (
            average(8000, 10000, math.inf, 262144) | {"noise/run_average_outlier_share": 0.7},
            "to double it. (Few steps with very large gradients make most of the signal, so",
        ),
        (average(8000, math.nan, math.inf, 512), "at least 8,000 tokens; a step has 512: double it."),
    ],
)  # fmt: skip
def test_a_sentence_of_the_batch(row: dict[str, Any], words: str) -> None:
    assert words in sentence(row, "tokens")


def test_the_last_batch_of_an_epoch_is_not_the_batch() -> None:
    record = NoiseScaleRecord(prefix="noise")
    for number, batch in enumerate([512] * 7 + [56]):
        moments = Moments(grad_sq=1.0, trace=9000.0, groups=8, observations_per_group=batch // 8)
        record.update(moments, batch_observations=batch, learning_rate=0.1, observations=512 * number)
    resumed = NoiseScaleRecord(prefix="noise")
    resumed.load_state_dict(json.loads(json.dumps(record.state_dict())))
    assert record.row()["batch_observations"] == 56
    assert "a step has 512: double it" in sentence(record.row(), "tokens")
    assert sentence(resumed.row(), "tokens") == sentence(record.row(), "tokens")


def test_the_ratios_hold_every_task_of_images_and_text_that_is_known() -> None:
    path = Path(__file__).parents[3] / "configs/paper/table1.csv"
    rows = [row for row in csv.DictReader(path.open()) if row["unit"] in ("images", "tokens")]
    rows = [row for row in rows if "AE" not in row["task"] and "Autoencoder" not in row["task"]]
    paper = [float(row["noise_scale_average"]) / float(row["critical_batch_end"]) for row in rows]
    assert len(paper) == 5 and max(paper) < TASK_RATIOS[1] < 1.5 * max(paper)
    goals = [goal for task in load_tasks() if "width" in task.source for goal in task.goals]
    own = [goal.noise_over_critical for goal in goals if math.isfinite(goal.noise_over_critical)]
    assert len(own) > 30 and TASK_RATIOS[0] < min(own) < 1.5 * TASK_RATIOS[0] and max(own) < TASK_RATIOS[1]
