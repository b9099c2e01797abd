"""Moments by loss and their shares, against slow twins and a known truth."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from rlgns.noise.noise_by_loss import NoiseByLoss
from tests.reference.noise import slow_decayed_means, slow_moments

GROUPS, EACH, PARAMETERS = 4, 3, 6
COVARIANCE = np.array([[1.0, 0.6], [0.6, 4.0]])  # of the policy's and the value's noise, in each direction
TRUE = np.array([[0.5, 0.2, 0, 0, 0, 0], [1.0, 0, 0.5, 0, 0, 0]])  # true gradients


def draw(rng: np.random.Generator, size: float = 1.0) -> NDArray[np.float64]:
    """[groups, observations, losses, parameters]: gradients of single observations, the two losses correlated."""
    noise = rng.multivariate_normal([0, 0], COVARIANCE, (GROUPS, EACH, PARAMETERS)).swapaxes(2, 3)
    return size * (TRUE + noise)


def products(gradients: NDArray[np.float64]) -> NDArray[np.float64]:
    """[losses, losses, groups, groups]."""
    means = gradients.mean(1)
    return np.einsum("jlx,kmx->lmjk", means, means)


def test_moments_add_up_exactly_to_those_of_the_whole_loss() -> None:
    gradients = draw(np.random.default_rng(0))
    found = NoiseByLoss()
    found.update(products(gradients), EACH, divisor=None, observations_since=1)
    row = found.row()
    for loss, name in enumerate(("policy", "value")):
        grad_sq, trace = slow_moments(list(gradients[:, :, loss]))
        assert row[f"noise/by_loss/{name}/grad_sq"] == pytest.approx(grad_sq, rel=1e-12)
        assert row[f"noise/by_loss/{name}/trace"] == pytest.approx(trace, rel=1e-12)
    for moment, whole in zip(("grad_sq", "trace"), slow_moments(list(gradients.sum(2))), strict=True):
        policy, value, cross = (row[f"noise/by_loss/{name}/{moment}"] for name in ("policy", "value", "cross"))
        assert policy + 2 * cross + value == pytest.approx(whole, rel=1e-12)
        assert abs(policy + value - whole) > 0.1 * abs(whole)  # power: the cross term counts
    assert np.isnan(row["noise/by_loss/value/noise_share"])  # no divisor: reported and not summed
    assert found.row()["noise/by_loss/value/trace"] is None  # in the next iteration


def test_ratios_are_those_of_decayed_sums() -> None:
    rng, horizon = np.random.default_rng(1), 50.0
    since, divisors, values = [7, 20, 1, 33, 12], [1.0, 4.0, 9.0, 0.3, 2.0], []
    found = NoiseByLoss(horizon)
    for observations, divisor in zip(since, divisors, strict=True):
        gradients = draw(rng, size=divisor**0.5)
        found.update(products(gradients), EACH, divisor=divisor, observations_since=observations)
        policy, value, whole = (
            slow_moments(list(each)) for each in (gradients[:, :, 0], gradients[:, :, 1], gradients.sum(2))
        )
        values.append([x / divisor for x in (*policy, *value, *whole)])
    (gp, tp, gv, tv, g, t), _ = slow_decayed_means(values, since, horizon)
    assert found.ratio("policy/scale").value == pytest.approx(tp / gp)
    assert found.ratio("value/scale").value == pytest.approx(tv / gv)
    assert found.ratio("value/noise_share").value == pytest.approx((tv + (t - tp - tv) / 2) / t)
    assert found.ratio("value/signal_share").value == pytest.approx((gv + (g - gp - gv) / 2) / g)


RUNS, BATCHES = 200, 30


def covered(biased: bool) -> float:
    """Share of simulated runs whose interval of the noise share holds the truth, sizes of gradients changing 100 x."""
    rng, held = np.random.default_rng(2), 0
    truth = (COVARIANCE[1, 1] + COVARIANCE[0, 1]) / COVARIANCE.sum()
    for _ in range(RUNS):
        found = NoiseByLoss(300.0)
        for batch in range(BATCHES):
            size = 10 ** (-batch / BATCHES)
            given = products(draw(rng, size))
            if biased:  # without the cross terms
                given[0, 1] = given[1, 0] = 0
            found.update(given, EACH, divisor=size**2, observations_since=12)
        share = found.ratio("value/noise_share")
        held += share.low <= truth <= share.high
    return held / RUNS


def test_the_interval_of_the_share_holds_the_truth() -> None:
    """200 runs at level 0.95: standard error 0.015."""
    assert covered(biased=False) > 0.905
    assert covered(biased=True) < 0.6


def test_a_gradient_that_is_not_finite_is_counted_and_left_out() -> None:
    rng, found = np.random.default_rng(3), NoiseByLoss()
    found.update(products(draw(rng)), EACH, divisor=1.0, observations_since=5)
    before = found.state_dict()["sums"]
    broken = products(draw(rng))
    broken[0, 0, 1, 2] = np.inf
    found.update(broken, EACH, divisor=1.0, observations_since=5)
    row = found.row()
    assert (row["noise/by_loss/batches"], row["noise/by_loss/skipped"]) == (1, 1)
    assert found.state_dict()["sums"] == before


def test_a_saved_state_goes_on() -> None:
    rng = np.random.default_rng(4)
    one = NoiseByLoss(100.0)
    for _ in range(6):
        one.update(products(draw(rng)), EACH, divisor=2.0, observations_since=9)
    other = NoiseByLoss(100.0)
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    last = products(draw(rng))
    rows = []
    for each in (one, other):
        each.row()
        each.update(last, EACH, divisor=2.0, observations_since=9)
        rows.append(each.row())
    assert rows[0] == rows[1]
    assert np.isfinite(rows[0]["noise/by_loss/value/noise_share_high"])
