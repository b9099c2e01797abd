"""The statistics of a run: every batch goes where it belongs, and a checkpoint holds them all."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from rlgns.noise import DesignEffectTracker, GradientSize, NoiseScaleTracker, moments_from_gram
from rlgns.noise.config import NoiseConfig
from rlgns.noise.live_statistics import LiveStatistics

CONFIG = NoiseConfig(horizon_observations=4000, shuffled_every=5)
B = 16


def batches(count: int, groups: int = 4, seed: int = 0) -> list[np.ndarray]:
    """[groups, groups] inner products each, of gradients that grow from batch to batch."""
    gradients = np.random.default_rng(seed).normal(size=(count, groups, 30)) + 0.3
    gradients *= np.linspace(1, 3, count)[:, None, None]
    return list(gradients @ gradients.transpose(0, 2, 1))


def take(statistics: LiveStatistics, products: list[np.ndarray], b: int = B, start: int = 0) -> None:
    for place, one in enumerate(products, start):
        statistics.update(one, b, shuffled=place % 10 == 0, step=place % 2)


def test_batches_are_tracked_in_units_of_the_gradients_size_and_by_their_split() -> None:
    statistics = LiveStatistics(CONFIG, minibatches=2)
    size, tracker, effect = GradientSize(), NoiseScaleTracker(4000, follows_run=True), DesignEffectTracker(4000, 400)
    raw = []
    products = batches(25)
    take(statistics, products)
    for place, one in enumerate(products):
        moments = moments_from_gram(one, B)
        relative = size.divide(moments)
        if place % 10:
            raw.append(moments.grad_sq)
        if relative is not None and place % 10:
            tracker.update(relative)
            effect.update_by_env(relative)
        elif relative is not None:
            effect.update_shuffled(relative)
    row, expected = statistics.row(), tracker.estimate()
    assert statistics.estimate() == expected
    assert (row["noise/scale"], row["noise/updates"]) == (expected.noise_scale, 22)
    assert row["noise/design_effect"] == statistics.design_effect == effect.estimate()
    assert row["noise/grad_sq"] == pytest.approx(np.mean(raw))
    assert [rung["batch_observations"] for rung in row["noise/ladder"]] == [16, 32, 64]
    assert size.value is not None
    assert row["noise/ladder"][0]["grad_sq_norm"] == expected.ladder[0].grad_sq_norm * size.value
    assert list(row) == [key.name for key in statistics.keys]
    assert list(row)[-2:] == ["noise/ladder", "noise/by_step"], "numbers before lists"


def test_raw_moments_are_of_one_iteration_and_the_ladder_of_the_batch_in_use() -> None:
    statistics = LiveStatistics(CONFIG, minibatches=2)
    take(statistics, batches(5))
    statistics.row()
    assert (statistics.row()["noise/grad_sq"], statistics.row()["noise/trace"]) == (None, None)
    take(statistics, batches(3), b=2 * B, start=1)
    assert [rung["batch_observations"] for rung in statistics.row()["noise/ladder"]] == [32, 64, 128]


def test_without_refresh_the_smoothed_entries_are_those_of_the_last_row() -> None:
    statistics = LiveStatistics(CONFIG, minibatches=2)
    take(statistics, batches(16))
    first = statistics.row(refresh=False)
    assert first == after(16).row(), "nothing to repeat yet"
    take(statistics, batches(4, seed=1), start=16)
    kept = statistics.row(refresh=False)
    fresh = after(16, 4).row()
    assert kept["noise/grad_sq"] == fresh["noise/grad_sq"] != first["noise/grad_sq"]
    for name in ("noise/updates", "noise/scale", "noise/at_rollout/now"):
        assert kept[name] == first[name] != fresh[name]
    assert statistics.row()["noise/updates"] == fresh["noise/updates"]
    take(statistics, [1e9 * one for one in batches(12, seed=2)], start=20)  # a jump: all sums start again
    assert statistics.row(refresh=False)["noise/scale"] == statistics.row()["noise/scale"] != fresh["noise/scale"]


def after(*counts: int) -> LiveStatistics:
    statistics = LiveStatistics(CONFIG, minibatches=2)
    for seed, count in enumerate(counts):
        take(statistics, batches(count, seed=seed), start=sum(counts[:seed]))
        if seed + 1 < len(counts):
            statistics.row()
    return statistics


def test_before_the_first_batch_and_after_one_that_is_not_finite() -> None:
    statistics = LiveStatistics(CONFIG, minibatches=2)
    row = statistics.row()
    assert math.isnan(row["noise/scale"]) and math.isnan(row["noise/design_effect"]) and row["noise/ladder"] == []
    assert math.isnan(row["noise/at_rollout/scale"]) and row["noise/at_rollout/grad_sq"] is None
    assert not row["noise/at_rollout/resolved"] and row["noise/by_step"] == []
    take(statistics, batches(4), start=1)
    statistics.update(np.full((4, 4), math.nan), B, shuffled=False, step=0)
    row = statistics.row()
    assert (row["noise/updates"], row["noise/skipped"]) == (3, 1)
    assert math.isfinite(row["noise/scale"]) and math.isfinite(row["noise/grad_sq"])


def test_a_resumed_run_goes_on_and_a_statistic_that_is_new_starts_empty() -> None:
    first, second, without = (LiveStatistics(CONFIG, minibatches=2) for _ in range(3))
    take(first, batches(12))
    first.row()
    state = json.loads(json.dumps(first.state_dict()))
    second.load_state_dict(state)
    for name in ("design_effect", "at_rollout", "by_step"):
        del state[name]
    without.load_state_dict(state)
    assert math.isnan(without.design_effect) and not math.isnan(second.design_effect)
    empty, known = without.row(), second.row()
    assert empty["noise/by_step"] == [] and math.isnan(empty["noise/at_rollout/scale"])
    assert len(known["noise/by_step"]) == 2 and math.isfinite(known["noise/at_rollout/scale"])
    for statistics in (first, second, without):
        take(statistics, batches(3, seed=1), start=1)
    assert first.estimate() == second.estimate() == without.estimate()
    assert first.row() == second.row()
    assert first.state_dict() == second.state_dict()
