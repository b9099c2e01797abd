"""A run whose two noise scales differ ten times: at the parameters that played, and along the steps of an iteration.

Loss 1/2 theta^T H theta, an observation's gradient H theta + noise of covariance Sigma; both matrices are diagonal and
known. An iteration starts at theta_0, takes 4 steps of SGD, each on fresh observations, and then goes back: that stands
for later epochs, which average the steps' noise out again. With A = 1 - epsilon H, B observations a step:

    E|G_k|^2 = |A^k G_0|^2 + epsilon^2 sum_{j < k} tr(A^j H Sigma H A^j) / B
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlgns.noise import NoiseScaleTracker, moments_from_gram
from rlgns.noise.config import NoiseConfig
from rlgns.noise.live_statistics import LiveStatistics

STEPS, GROUPS, B_GROUP = 4, 8, 8
B = GROUPS * B_GROUP
DIMENSION = 300
STEP_SIZE = 1.0
H = np.linspace(0.7, 1.6, DIMENSION)
SIGMA = np.linspace(0.5, 1.5, DIMENSION)
TRACE = float(SIGMA.sum())
A = 1 - STEP_SIZE * H

FROM_NOISE = [float(sum((A**j * STEP_SIZE * H) ** 2 @ SIGMA / B for j in range(k))) for k in range(STEPS)]
FROM_START = [float(np.mean(A ** (2 * k))) for k in range(STEPS)]
"""|A^k G_0|^2 over |G_0|^2, where G_0 is as large in every direction."""

RATIO = 10.0
START = float(np.mean(FROM_NOISE) / (RATIO - np.mean(FROM_START)))
"""|G_0|^2 that makes the mean along the steps RATIO times as large."""

GRAD_SQ = [START * kept + added for kept, added in zip(FROM_START, FROM_NOISE, strict=True)]
AT_ROLLOUT, PATH = TRACE / GRAD_SQ[0], TRACE / float(np.mean(GRAD_SQ))

SHUFFLED_EVERY = 8
PATH_SPLIT_BY_ENVIRONMENT = TRACE / float(np.average(GRAD_SQ, weights=[1 - 1 / SHUFFLED_EVERY, 1, 1, 1]))
"""What `noise/scale` estimates: one first batch in 8 is split by shuffled observations and left out."""


def measured(iterations: int, seed: int) -> tuple[dict[str, Any], float]:
    """Returns the last row of such a run, and the noise scale by all batches in one sum."""
    rng = np.random.default_rng(seed)
    config = NoiseConfig(horizon_observations=0, shuffled_every=SHUFFLED_EVERY)
    statistics, together = LiveStatistics(config, minibatches=STEPS), NoiseScaleTracker()
    start = np.full(DIMENSION, np.sqrt(START / DIMENSION)) / H
    row: dict[str, Any] = {}
    for iteration in range(iterations):
        theta = start
        for step in range(STEPS):
            noise = rng.normal(size=(GROUPS, DIMENSION)) * np.sqrt(SIGMA / B_GROUP)
            gradients = H * theta + noise
            products = gradients @ gradients.T
            shuffled = iteration % SHUFFLED_EVERY == 0 and step == 0
            statistics.update(products, B_GROUP, shuffled=shuffled, step=step)
            together.update(moments_from_gram(products, B_GROUP))
            theta = theta - STEP_SIZE * gradients.mean(0)
        if iteration % 50 == 49:
            row = statistics.row()
    return row, together.estimate().noise_scale


@pytest.fixture(scope="module")
def run() -> tuple[dict[str, Any], float]:
    return measured(1500, seed=0)


def test_each_noise_scale_is_near_its_own_truth(run: tuple[dict[str, Any], float]) -> None:
    row, together = run
    assert pytest.approx(RATIO) == AT_ROLLOUT / PATH
    assert row["noise/at_rollout/scale"] == pytest.approx(AT_ROLLOUT, rel=0.05)
    assert row["noise/at_rollout/scale_low"] < AT_ROLLOUT < row["noise/at_rollout/scale_high"]
    assert row["noise/scale"] == pytest.approx(PATH_SPLIT_BY_ENVIRONMENT, rel=0.05)
    assert together == pytest.approx(PATH, rel=0.05)


def test_the_twin_that_takes_one_for_the_other_fails(run: tuple[dict[str, Any], float]) -> None:
    row, together = run
    assert together < AT_ROLLOUT / 8
    assert not row["noise/scale_low"] <= AT_ROLLOUT <= row["noise/scale_high"]
    assert not row["noise/at_rollout/scale_low"] <= PATH <= row["noise/at_rollout/scale_high"]


def test_the_profile_along_the_steps_is_the_derivations(run: tuple[dict[str, Any], float]) -> None:
    entries = run[0]["noise/by_step"]
    assert [entry["step"] for entry in entries] == list(range(STEPS))
    found = np.array([entry["grad_sq"] for entry in entries])
    np.testing.assert_allclose(found, GRAD_SQ, rtol=0.08)  # the present size, one number, is known to a few per cent
    np.testing.assert_allclose([entry["trace"] for entry in entries], TRACE, rtol=0.08)
    np.testing.assert_allclose(found / found[-1], np.array(GRAD_SQ) / GRAD_SQ[-1], rtol=0.05)
    without_noise = np.array(FROM_START) * START
    assert found[1] > 5 * without_noise[1], "the drift alone would make it smaller"
