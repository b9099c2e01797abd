"""What is asked of a run that was killed: that the questions can be answered with no."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from benchmarks.kills_results import STATISTICS, _differences, detectable, measurements, same_distribution
from rlgns.config.schema import Config
from rlgns.noise.config import NoiseConfig
from tests.rlgns.engine.tiny import tiny


def rows_of(seed: int, *, count: int = 90, shift: float = 0.0) -> list[dict[str, Any]]:
    """A run that improves with its iterations; seeds differ by one standard deviation of 1, plus the shift."""
    draw = random.Random(seed)
    offset = draw.gauss(0, 1) + shift
    return [
        {
            "score_mean": number + offset,
            "entropy": 10 - number / 10 + offset,
            "loss/value": 5 + offset / 10,
            "explained_variance": number / count + offset,
            "grad_norm": math.exp(offset / 10),
            "noise/trace": 100 + number + offset,
            "noise/grad_sq": 0.01,
        }
        for number in range(count)
    ]


def test_measurements_are_those_of_a_real_run() -> None:
    run = tiny()  # two batches an iteration; tests/rlgns/engine/test_algorithm.py has its rows
    assert [measurements(run, iteration) for iteration in (1, 2, 3, 4)] == [1, 2, 4, 5]
    every = Config(noise=NoiseConfig(shuffled_every=0))
    assert measurements(every, 10) == every.agent.minibatches * 10 - 1


def test_what_is_missing_and_what_is_twice_is_named() -> None:
    assert _differences([1, 2, 2, 4, 6], 5) == "5 rows, missing [3, 5], more than once [2], beyond the end [6]"


def test_a_run_of_the_same_kind_is_not_told_apart_and_another_is() -> None:
    others = [rows_of(seed) for seed in range(1, 9)]
    same = same_distribution(rows_of(0), others)
    assert not same.differs
    assert [name for name, *_ in same.lines] == list(STATISTICS)
    assert same_distribution(rows_of(0, shift=20), others).differs
    (score, *_) = same.lines
    assert score[4] > 10  # a run that had forgotten what it learned would be far away


@pytest.mark.parametrize("count", [4, 8])
def test_the_power_that_is_told_is_there(count: int) -> None:
    """By simulation, 4,000 draws: a standard error of 0.6 %."""
    from scipy import stats

    size, rng = detectable(count, level=0.05), np.random.default_rng(count)
    others, one = rng.normal(size=(4000, count)), rng.normal(size=4000) + size
    t = (one - others.mean(1)) / (others.std(1, ddof=1) * math.sqrt(1 + 1 / count))
    found = np.mean(np.abs(t) > stats.t.ppf(0.975, count - 1))
    assert abs(found - 0.8) < 0.03
    less = (one - size / 4 - others.mean(1)) / (others.std(1, ddof=1) * math.sqrt(1 + 1 / count))
    assert np.mean(np.abs(less) > stats.t.ppf(0.975, count - 1)) < 0.77
