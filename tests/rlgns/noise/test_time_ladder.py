"""The time ladder against clustered gradients whose variances are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from rlgns.noise import TimeLadder, TimeLadderTracker, TimeRung, gram, group_moments, time_ladder

ENVS, STEPS, DIMENSION, SEGMENTS = 6, 16, 10, 4


def rollout(rng: np.random.Generator, shared: float) -> np.ndarray:
    """[envs, steps, parameters]: variance 1 per axis, of which `shared` is common to an environment's steps."""
    own = rng.normal(size=(ENVS, STEPS, DIMENSION)) * math.sqrt(1 - shared)
    return 0.2 + own + rng.normal(size=(ENVS, 1, DIMENSION)) * math.sqrt(shared)


def ladder_of(g: np.ndarray) -> TimeLadder:
    segments = g.reshape(ENVS * SEGMENTS, STEPS // SEGMENTS, DIMENSION).mean(axis=1)
    return time_ladder(gram(segments), groups=ENVS, segments=SEGMENTS, steps=STEPS)


@pytest.mark.parametrize("shared", [0.0, 0.1, 1.0])
def test_rungs_are_unbiased_and_tell_longer_from_more(shared: float) -> None:
    rng = np.random.default_rng(0)
    tracker = TimeLadderTracker()
    rows = []
    for _ in range(3000):
        ladder = ladder_of(rollout(rng, shared))
        tracker.update(ladder, ENVS * STEPS)
        rows.append([ladder.grad_sq, *(rung.variance for rung in ladder.rungs)])
    table = np.array(rows)
    error = table.std(axis=0) / math.sqrt(len(table))
    truth = [0.04 * DIMENSION, *(DIMENSION * (shared + (1 - shared) / steps) for steps in (4, 8, 16))]
    assert np.all(np.abs(table.mean(axis=0) - truth) < 4 * error)
    mean = tracker.estimate()
    assert mean is not None
    assert [rung.steps for rung in mean.rungs] == [4, 8, 16]
    expected = (shared + (1 - shared) / 32) / (shared + (1 - shared) / 16)
    assert mean.twice_steps_noise == pytest.approx(expected, abs=0.03)


def test_the_longest_rung_is_the_trace_with_environments_as_the_unit() -> None:
    g = rollout(np.random.default_rng(1), 0.3)
    ladder = ladder_of(g)
    moments = group_moments(g.mean(axis=1), observations_per_group=STEPS)
    assert ladder.grad_sq == pytest.approx(moments.grad_sq)
    assert ladder.rungs[-1].trace == pytest.approx(moments.trace)
    pairs = g.reshape(3, 2, SEGMENTS, -1, DIMENSION).transpose(0, 2, 1, 3, 4).mean(axis=(2, 3))
    joined = time_ladder(gram(pairs.reshape(-1, DIMENSION)), groups=3, segments=SEGMENTS, steps=STEPS, envs_per_group=2)
    by_pairs = group_moments(g.reshape(3, -1, DIMENSION).mean(axis=1), observations_per_group=2 * STEPS)
    assert joined.rungs[-1].trace == pytest.approx(by_pairs.trace)


def test_the_interval_of_twice_the_steps_covers_the_truth() -> None:
    """100 trackers of 30 batches each: nominal 95 %; against a truth that is a tenth too large they miss often."""
    rng = np.random.default_rng(4)
    shared, covered = 0.3, np.zeros(2)
    truth = (shared + (1 - shared) / 32) / (shared + (1 - shared) / 16)
    for _ in range(100):
        tracker = TimeLadderTracker()
        for _ in range(30):
            tracker.update(ladder_of(rollout(rng, shared)), ENVS * STEPS)
        low, high = tracker.twice_steps_interval(0.95)
        covered += [low <= truth <= high, low <= 1.1 * truth <= high]
    assert covered[0] >= 87  # 95 expected, standard error 2.2
    assert covered[1] < 60


def test_state_undefined_and_bad_input() -> None:
    first, second = TimeLadderTracker(1000.0), TimeLadderTracker(1000.0)
    assert all(math.isnan(end) for end in first.twice_steps_interval(0.95))
    assert first.estimate() is None
    rng = np.random.default_rng(2)
    for _ in range(5):
        first.update(ladder_of(rollout(rng, 0.1)), ENVS * STEPS)
    first.update(ladder_of(np.full((ENVS, STEPS, DIMENSION), math.nan)), ENVS * STEPS)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.estimate() == first.estimate()
    assert math.isnan(TimeLadder(grad_sq=0.0, rungs=(TimeRung(steps=4, variance=1.0),)).twice_steps_noise)
    with pytest.raises(ValueError, match="cannot join"):
        first.update(TimeLadder(grad_sq=0.0, rungs=(TimeRung(steps=4, variance=1.0),)), 8)
    with pytest.raises(ValueError, match="at least 2 groups"):
        time_ladder(np.eye(4), groups=1, segments=4, steps=8)
    with pytest.raises(ValueError, match="power of two that divides the 9 steps"):
        time_ladder(np.eye(4), groups=2, segments=2, steps=9)
    with pytest.raises(ValueError, match="power of two"):
        time_ladder(np.eye(6), groups=2, segments=3, steps=9)
    with pytest.raises(ValueError, match="2 x 2 rows"):
        time_ladder(np.eye(5), groups=2, segments=2, steps=8)
