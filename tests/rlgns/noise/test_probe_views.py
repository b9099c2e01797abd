"""All views of one probe."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from rlgns.metrics.probe_keys import VIEWS
from rlgns.noise.losses_and_layers import products_by_layer
from rlgns.noise.probe_views import ProbeProducts, ProbeViews, SplitProducts

LAYERS = {"conv1": 4, "hidden": 5, "policy_head": 2, "value_head": 1}
WEIGHTS = {"policy": 1.0, "value": 0.5, "entropy": -0.01}
GROUPS, SEGMENTS, STEPS = 4, 2, 6


def rows(rng: np.random.Generator) -> np.ndarray:
    """[losses, groups, parameters]; the value's noise is the largest, the entropy's the smallest."""
    spread = np.array([1.0, 5.0, 0.05])[:, None, None]
    return 0.5 + spread * rng.normal(size=(3, GROUPS, sum(LAYERS.values())))


def split(gradients: np.ndarray, observations: int, *, preconditioned: bool = True) -> SplitProducts:
    whole = np.einsum("l,lgp->gp", list(WEIGHTS.values()), gradients)
    return SplitProducts(
        by_layer=products_by_layer(torch.from_numpy(gradients), list(LAYERS.values())).numpy(),
        preconditioned=4 * whole @ whole.T if preconditioned else None,
        observations_per_group=observations,
    )


def probe(seed: int, *, preconditioned: bool = True) -> ProbeProducts:
    rng = np.random.default_rng(seed)
    gradients = rows(rng)
    whole = np.einsum("l,lgp->gp", list(WEIGHTS.values()), gradients)
    wobble = rng.normal(size=whole.shape)
    segments = np.stack([whole + wobble, whole - wobble], axis=1)  # their mean is the group's gradient
    return ProbeProducts(
        by_env=split(gradients, 12, preconditioned=preconditioned),
        shuffled=split(rows(rng), 3, preconditioned=preconditioned),
        segments=np.einsum("gsp,gtp->gst", segments, segments),
        steps=STEPS,
        envs_per_group=2,
    )


def make() -> ProbeViews:
    return ProbeViews(list(LAYERS), WEIGHTS, horizon_observations=1000.0)


def test_parts_of_one_probe_add_up_to_the_whole() -> None:
    views = make()
    assert views.update(probe(0))
    latest = {name: view.latest for name, view in (views.estimates() | views.layers()).items()}
    moments = {name: (m.grad_sq, m.trace) for name, m in latest.items() if m is not None}
    assert list(views.estimates()) == list(VIEWS)
    joint = np.array(moments["joint"])
    np.testing.assert_allclose(sum(np.array(moments[name]) for name in LAYERS), joint, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.add(moments["trunk"], moments["heads"]), joint, rtol=1e-12, atol=1e-12)
    weights = list(WEIGHTS.values())
    for index, field in enumerate(("grad_sq", "trace")):
        total = sum(weights[i] * weights[j] * getattr(views.cross[i][j], field) for i in range(3) for j in range(3))
        assert total == pytest.approx(joint[index], rel=1e-12, abs=1e-12)
    assert moments["preconditioned"] == pytest.approx(4 * joint)


def test_views_tell_apart_what_differs() -> None:
    views = make()
    for seed in range(60):
        views.update(probe(seed))
    estimates = views.estimates()
    assert estimates["entropy"].estimate.noise_scale == pytest.approx(12 * 0.05**2 / 0.25, rel=0.2)
    assert views.resolves_first(48) == "entropy"
    assert estimates["value"].estimate.low > estimates["policy"].estimate.low
    assert 0.8 < estimates["entropy"].dimension / 12 < 1.25


def test_the_time_ladder_ends_at_the_joint_trace() -> None:
    views = make()
    assert views.time_ladder() is None and math.isnan(views.twice_steps_interval()[0])
    views.update(probe(0))
    size = views._views["joint"]._size.value
    assert size is not None
    views.update(probe(1))
    ladder, joint = views.time_ladder(), views.estimates()["joint"].latest
    assert ladder is not None and joint is not None
    assert [rung.steps for rung in ladder.rungs] == [3, 6]
    assert ladder.rungs[-1].trace == pytest.approx(joint.trace / size)  # in units of the size before
    for seed in range(2, 12):
        views.update(probe(seed))
    low, high = views.twice_steps_interval()
    mean = views.time_ladder()
    assert mean is not None and low < mean.twice_steps_noise < high


def test_a_probe_that_is_not_finite_is_counted_and_changes_nothing() -> None:
    views = make()
    for seed in range(5):
        views.update(probe(seed))
    before = views.state_dict()
    good = probe(9)
    infinite, lost = np.array(good.segments), np.array(good.by_env.by_layer)
    infinite[0, 0, 0], lost[2, 1, 1, 0, 0] = math.inf, math.nan
    for bad in (
        dataclasses.replace(good, segments=infinite),
        dataclasses.replace(good, by_env=dataclasses.replace(good.by_env, by_layer=lost)),
        dataclasses.replace(good, shuffled=dataclasses.replace(good.shuffled, by_layer=lost)),
    ):
        assert not views.update(bad)
    assert views.state_dict() == before | {"skipped": 3}


def test_before_the_first_step_there_is_no_preconditioned_view() -> None:
    views = make()
    for seed in range(4):
        views.update(probe(seed, preconditioned=False))
    assert views.estimates()["preconditioned"].latest is None
    assert views.estimates()["joint"].estimate.updates == 3


def test_state_goes_on_exactly() -> None:
    whole, first, second = make(), make(), make()
    for views in (whole, first):
        for seed in range(6):
            views.update(probe(seed))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for views in (whole, second):
        views.update(probe(7))
    assert second.estimates() == whole.estimates()
    assert second.layers() == whole.layers()
    assert second.time_ladder() == whole.time_ladder()
    assert second.state_dict() == whole.state_dict()
