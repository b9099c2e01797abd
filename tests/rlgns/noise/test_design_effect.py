"""The design effect against clustered data with a known truth."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from rlgns.noise import (
    DesignEffectTracker,
    Moments,
    NoiseScaleTracker,
    design_effect,
    group_moments,
    shuffled_noise_scale,
)

ENVS, STEPS, RHO, DIMENSION = 16, 32, 0.1, 40
OBSERVATIONS = ENVS * STEPS
DEFF = 1 + (STEPS - 1) * RHO
INDEPENDENT_NOISE_SCALE = 200
TRUTH = INDEPENDENT_NOISE_SCALE * DEFF
GRAD_SQ = DIMENSION / INDEPENDENT_NOISE_SCALE


def rollout(rng: np.random.Generator) -> np.ndarray:
    """[envs, steps, parameters] gradients: unit variance, correlation RHO within an environment."""
    mean = np.zeros(DIMENSION)
    mean[0] = math.sqrt(GRAD_SQ)
    own = rng.normal(size=(ENVS, STEPS, DIMENSION)) * math.sqrt(1 - RHO)
    return mean + own + rng.normal(size=(ENVS, 1, DIMENSION)) * math.sqrt(RHO)


def test_environments_as_the_unit_find_the_truth_and_shuffling_does_not() -> None:
    rng = np.random.default_rng(0)
    by_env, shuffled = NoiseScaleTracker(), NoiseScaleTracker()
    effect = DesignEffectTracker()
    traces = []
    for _ in range(2000):
        g = rollout(rng)
        env_moments = group_moments(g.reshape(8, -1, DIMENSION).mean(axis=1), OBSERVATIONS // 8)
        mixed = rng.permutation(g.reshape(-1, DIMENSION)).reshape(8, -1, DIMENSION).mean(axis=1)
        mixed_moments = group_moments(mixed, OBSERVATIONS // 8)
        by_env.update(env_moments)
        shuffled.update(mixed_moments)
        effect.update_by_env(env_moments)
        effect.update_shuffled(mixed_moments)
        traces.append((env_moments.trace, mixed_moments.trace))
    honest, fooled = by_env.estimate(), shuffled.estimate()
    assert honest.low < TRUTH < honest.high
    assert honest.noise_scale == pytest.approx(TRUTH, rel=0.1)
    assert fooled.noise_scale == pytest.approx(90, rel=0.05)
    assert fooled.high < TRUTH / 5
    assert shuffled_noise_scale(GRAD_SQ, DIMENSION * DEFF, DEFF, OBSERVATIONS) == pytest.approx(89.8, abs=0.5)
    assert effect.estimate() == pytest.approx(DEFF, rel=0.02)
    env_trace, mixed_trace = np.array(traces).T
    expected = DIMENSION * (OBSERVATIONS - DEFF) / (OBSERVATIONS - 1)
    assert abs(mixed_trace.mean() - expected) < 4 * mixed_trace.std() / math.sqrt(len(traces))
    assert abs(env_trace.mean() - DIMENSION * DEFF) < 4 * env_trace.std() / math.sqrt(len(traces))


def test_the_formulas_invert_each_other() -> None:
    for deff in (1.0, 4.1, 29.0, 0.9):
        shuffled = 7.0 * (OBSERVATIONS - deff) / (OBSERVATIONS - 1)
        assert design_effect(7.0 * deff, shuffled, OBSERVATIONS) == pytest.approx(deff)
    assert shuffled_noise_scale(1e-12, 4.1, 4.1, OBSERVATIONS) == pytest.approx(OBSERVATIONS / 3.1, rel=0.02)
    assert shuffled_noise_scale(0.5, 3.0, 1.0, OBSERVATIONS) == pytest.approx(6.0)


def test_undefined_and_bad_input() -> None:
    tracker = DesignEffectTracker()
    assert math.isnan(tracker.estimate())
    tracker.update_by_env(Moments(grad_sq=0.0, trace=1.0, groups=2, observations_per_group=4))
    tracker.update_shuffled(Moments(grad_sq=math.nan, trace=math.nan, groups=2, observations_per_group=4))
    assert math.isnan(tracker.estimate())
    assert math.isnan(design_effect(0.0, 0.0, 8))
    with pytest.raises(ValueError, match="at least 2 observations"):
        design_effect(1.0, 1.0, 1)


def test_state_round_trip() -> None:
    rng = np.random.default_rng(1)
    first, second = (DesignEffectTracker(1000.0, 100.0) for _ in range(2))
    for _ in range(20):
        moments = group_moments(rng.normal(size=(4, 5)), 3)
        first.update_by_env(moments)
        first.update_shuffled(moments)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.estimate() == first.estimate()
    assert second.state_dict() == first.state_dict()
