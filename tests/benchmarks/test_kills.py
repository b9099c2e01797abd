"""The checks of runs that were killed: each of them can fail."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

from benchmarks.kills import wrong_codes
from benchmarks.kills_comparison import STATISTICS, detectable, permutation_p, same_distribution
from benchmarks.kills_results import _differences, measurements
from rlgns.config.schema import Config
from rlgns.noise.config import NoiseConfig
from tests.reference.permutation import slow_permutation_p
from tests.rlgns.engine.tiny import tiny


def rows_of(seed: int, *, count: int = 90, shift: float = 0.0) -> list[dict[str, Any]]:
    """Returns a run that improves with its iterations, shifted by its seed (standard deviation 1) and by `shift`."""
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


def test_missing_and_repeated_rows_are_named() -> None:
    assert _differences([1, 2, 2, 4, 6], 5) == "5 rows, missing [3, 5], more than once [2], beyond the end [6]"


def test_a_driver_that_leaves_with_another_exit_code_is_named() -> None:
    def kill(kind: str, dead: str, *, anywhere: bool = False) -> dict[str, Any]:
        return {"kind": kind, "dead": dead, "anywhere": anywhere}

    good = [
        kill("sigterm", "driver by SIGTERM, exit code 143"),
        kill("sigterm", "driver by SIGTERM, exit code -15", anywhere=True),
        kill("double resume", "driver, resumed twice, one with exit code 2"),
        kill("node", "node"),
    ]
    bad = [
        kill("sigterm", "driver by SIGTERM, exit code 3"),
        kill("sigterm", "driver by SIGTERM, exit code -15"),
        kill("double resume", "driver, resumed twice, one with exit code 0"),
    ]
    assert wrong_codes(good + bad) == [each["dead"] for each in bad]


def test_equal_runs_do_not_differ_and_shifted_runs_do() -> None:
    others = [rows_of(seed) for seed in range(2, 12)]
    same = same_distribution([rows_of(0), rows_of(1)], others)
    assert not same.differs
    assert [name for name, *_ in same.lines] == list(STATISTICS)
    assert same_distribution([rows_of(0, shift=20), rows_of(1, shift=20)], others).differs
    (score, *_) = same.lines
    assert score[3] > 10  # a run that had lost its training would be far away


def test_too_few_runs_for_any_difference_are_refused() -> None:
    with pytest.raises(ValueError, match="1 killed runs and 19 others: too few"):
        permutation_p(np.zeros((1, 2)), np.ones((19, 2)))


def test_the_permutation_test_equals_the_slow_one_and_keeps_its_level() -> None:
    """300 draws from a distribution with heavy tails and tied columns: a standard error of 1.3 %."""
    rng = np.random.default_rng(1)
    draws = [rng.standard_t(2, size=(10, 2)) @ np.array([[1, 0.9, 0], [0, 0.4, 1]]) for _ in range(300)]
    p = [permutation_p(runs[:2], runs[2:]) for runs in draws]
    assert p[:10] == pytest.approx([slow_permutation_p(runs[:2], runs[2:]) for runs in draws[:10]])
    assert np.mean(np.array(p) < 0.05) < 0.09
    assert abs(np.mean(np.array(p) < 0.5) - 0.5) < 0.12
    biased = [permutation_p(runs[:2] + 12, runs[2:]) for runs in draws]
    assert np.mean(np.array(biased) < 0.05) > 0.5


@pytest.mark.parametrize(("count", "others"), [(2, 8), (1, 30)])
def test_the_stated_power_is_reached(count: int, others: int) -> None:
    """By an independent simulation of 300 draws: a standard error of 2.3 %."""
    size, rng = detectable(count, others, columns=3), np.random.default_rng(count)
    found = {}
    for part in (1.0, 0.25):
        shift = np.array([size * part, 0, 0])
        draws = (rng.normal(size=(count + others, 3)) for _ in range(300))
        found[part] = np.mean([permutation_p(runs[:count] + shift, runs[count:]) < 0.05 for runs in draws])
    assert 0.72 < found[1.0] < 0.93  # steps of 0.25, and two simulations
    assert found[0.25] < 0.6
