"""One view over time, on clustered gradients whose truth is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from rlgns.noise import gram
from rlgns.noise.view_tracker import ViewTracker

ENVS, STEPS, DIRECTIONS, SHARED = 8, 6, 12, 0.2
NOISE = np.array([2.0] * 4 + [1.0] * (DIRECTIONS - 4))
"""Standard deviation along each direction."""
MEAN = 0.3
EFFECT = 1 + (STEPS - 1) * SHARED


def batch(rng: np.random.Generator) -> np.ndarray:
    """[envs, steps, parameters], an environment's steps correlated by SHARED."""
    own = rng.normal(size=(ENVS, STEPS, DIRECTIONS)) * math.sqrt(1 - SHARED)
    return MEAN + NOISE * (own + math.sqrt(SHARED) * rng.normal(size=(ENVS, 1, DIRECTIONS)))


def take(view: ViewTracker, rng: np.random.Generator, scale: float = 1.0) -> None:
    g = scale * batch(rng)
    drawn = g.reshape(-1, DIRECTIONS)[rng.permutation(ENVS * STEPS)[:16]].reshape(8, 2, DIRECTIONS).mean(axis=1)
    view.update(gram(g.mean(axis=1)), STEPS, shuffled=gram(drawn), shuffled_per_group=2)


def test_scale_dimension_and_design_effect_are_found() -> None:
    rng = np.random.default_rng(0)
    view = ViewTracker()
    for _ in range(1500):
        take(view, rng)
    found = view.estimate()
    trace = EFFECT * float((NOISE**2).sum())
    assert found.estimate.noise_scale == pytest.approx(trace / (DIRECTIONS * MEAN**2), rel=0.06)
    assert found.estimate.low < trace / (DIRECTIONS * MEAN**2) < found.estimate.high
    assert found.dimension == pytest.approx((NOISE**2).sum() ** 2 / (NOISE**4).sum(), rel=0.06)
    assert found.design_effect == pytest.approx(EFFECT, rel=0.06)
    assert found.latest is not None and found.latest.groups == ENVS
    assert 1 <= found.updates_to_resolve(48) < found.updates_to_resolve(4)


def test_the_size_of_gradients_does_not_matter_and_the_first_batch_only_sets_it() -> None:
    small, large = ViewTracker(1000.0), ViewTracker(1000.0)
    for view, scale in ((small, 1.0), (large, 1e3)):
        rng = np.random.default_rng(1)
        for _ in range(9):
            take(view, rng, scale)
    one, other = small.estimate(), large.estimate()
    assert one.estimate.updates == 8
    assert other.estimate.noise_scale == pytest.approx(one.estimate.noise_scale)
    assert other.dimension == pytest.approx(one.dimension)
    assert other.design_effect == pytest.approx(one.design_effect)
    assert other.latest is not None and one.latest is not None
    assert other.latest.trace == pytest.approx(1e6 * one.latest.trace)


def test_a_preconditioner_from_the_same_batch_is_biased_and_one_from_before_is_not() -> None:
    """g / sqrt(P): with P the squares of the batches before the ratio of means is the truth, with the own ones not."""
    draws, groups, deviation = 20_000, 4, np.array([0.1, 1.0, 10.0])
    g = deviation * (0.5 + np.random.default_rng(2).normal(size=(draws, groups, 3)))
    truth = 1 / 0.5**2  # in every direction, so that no fixed P changes it

    def ratio(gradients: np.ndarray, second: np.ndarray) -> float:
        rows = gradients / np.sqrt(second)[:, None]
        products = np.einsum("djp,dkp->djk", rows, rows)
        own = np.einsum("djj->d", products) / groups
        others = (products.sum(axis=(1, 2)) / groups - own) / (groups - 1)
        return float((own - others).mean() / others.mean())

    squares = (g**2).mean(axis=1)
    assert ratio(g[1:], squares[:-1]) == pytest.approx(truth, rel=0.05)
    assert abs(ratio(g, squares) / truth - 1) > 0.1


def test_what_cannot_be_formed_is_nan_and_what_is_not_finite_is_left_out() -> None:
    rng = np.random.default_rng(3)
    view = ViewTracker()
    assert math.isnan(view.estimate().dimension) and view.estimate().latest is None
    for _ in range(3):  # two groups, nothing shuffled
        view.update(gram(batch(rng).reshape(2, -1, DIRECTIONS).mean(axis=1)), 24)
    view.update(np.full((2, 2), math.inf), 24)
    found = view.estimate()
    assert (found.estimate.updates, found.estimate.skipped) == (2, 1)
    assert math.isnan(found.dimension) and math.isnan(found.design_effect)
    assert math.isnan(found.updates_to_resolve(48))


def test_state_goes_on_exactly() -> None:
    whole, first, second = ViewTracker(500.0), ViewTracker(500.0), ViewTracker(500.0)
    for view in (whole, first):
        rng = np.random.default_rng(4)
        for _ in range(6):
            take(view, rng)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for view in (whole, second):
        take(view, np.random.default_rng(5))
    assert second.estimate() == whole.estimate()
