"""The running noise scale: equal to weights written out, exact over a restart, with an interval that covers."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import coverage
from rlgns.noise import Moments, NoiseScaleTracker, Rung, fit_ladder, group_moments
from rlgns.noise.block_sums import MAX_BLOCKS, BlockSums
from tests.reference.noise import slow_decayed_means


def stream(count: int, seed: int = 0, groups: int = 4, b: int = 8) -> list[Moments]:
    """Moments of batches of 32 observations; |G|^2 = 1, trace 50."""
    rng = np.random.default_rng(seed)
    mean = np.zeros(50)
    mean[0] = 1.0
    return [group_moments(mean + rng.normal(size=(groups, 50)) / math.sqrt(b), b) for _ in range(count)]


def of_size(grad_sq: float, trace: float, observations: int) -> Moments:
    ladder = (Rung(batch_observations=observations // 2, grad_sq_norm=grad_sq + 2 * trace / observations),)
    return Moments(grad_sq=grad_sq, trace=trace, groups=2, observations_per_group=observations // 2, ladder=ladder)


HORIZONS = st.one_of(st.none(), st.floats(10, 5000))
MEASUREMENTS = st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 50), st.integers(1, 60)), min_size=1, max_size=200)


@settings(max_examples=40, deadline=None)
@given(MEASUREMENTS, HORIZONS)
def test_equals_weights_written_out(measurements: list[tuple[float, float, int]], horizon: float | None) -> None:
    tracker = NoiseScaleTracker(horizon_observations=horizon)
    for grad_sq, trace, half in measurements:
        tracker.update(of_size(grad_sq, trace, 2 * half))
    estimate = tracker.estimate()
    values = [[grad_sq, trace] for grad_sq, trace, _ in measurements]
    (grad_sq, trace), weight = slow_decayed_means(values, [2 * half for *_, half in measurements], horizon)
    assert estimate.grad_sq == pytest.approx(grad_sq, rel=1e-9, abs=1e-9)
    assert estimate.trace == pytest.approx(trace, rel=1e-9, abs=1e-9)
    assert estimate.observations == pytest.approx(weight, rel=1e-9)
    assert estimate.updates == len(measurements)
    if estimate.grad_sq > 0:
        assert estimate.noise_scale == estimate.trace / estimate.grad_sq
    else:
        assert math.isnan(estimate.noise_scale)
    assert not estimate.low < 0
    assert estimate.resolved == math.isfinite(estimate.high)


@pytest.mark.parametrize("horizon", [None, 50.0, 3000.0, 30_000.0])
@pytest.mark.parametrize("count", [1, 63, 64, 65, 400])
def test_blocks_are_consecutive_measurements_with_their_weights(count: int, horizon: float | None) -> None:
    rng = np.random.default_rng(count)
    sizes = [int(n) for n in rng.integers(1, 60, size=count)]
    values = rng.normal(size=(count, 2))
    sums = BlockSums(horizon)
    for value, n in zip(values, sizes, strict=True):
        sums.update(value, n)
    observations, weights, means = sums.blocks()
    assert len(sums) <= MAX_BLOCKS
    # Walk back from the newest: every block must be the measurements that its observations span, weighted by age.
    end = count
    for block in reversed(range(len(sums))):
        start = end
        while sum(sizes[start:end]) < observations[block]:
            start -= 1
        assert sum(sizes[start:end]) == observations[block]
        ages = [sum(sizes[i + 1 :]) for i in range(start, end)]
        own = [
            n * (1 if horizon is None else math.exp(-a / horizon)) for n, a in zip(sizes[start:end], ages, strict=True)
        ]
        assert weights[block] == pytest.approx(sum(own), rel=1e-9, abs=1e-300)
        if sum(own) > 1e-200:
            mean = sum(w * value for w, value in zip(own, values[start:end], strict=True)) / sum(own)
            assert means[block] == pytest.approx(mean, rel=1e-9, abs=1e-9)
        end = start
    if horizon is None or sum(sizes) < 2 * horizon:
        assert end == 0, "nothing that still counts was dropped"


@pytest.mark.parametrize("horizon", [None, 3000.0])
def test_a_restart_changes_nothing(horizon: float | None) -> None:
    moments = stream(500)
    straight = NoiseScaleTracker(horizon_observations=horizon)
    for m in moments:
        straight.update(m)
    for cut in (0, 1, 63, 64, 65, 300):
        first, second = (NoiseScaleTracker(horizon_observations=horizon) for _ in range(2))
        for m in moments[:cut]:
            first.update(m)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        for m in moments[cut:]:
            second.update(m)
        assert second.estimate() == straight.estimate()
        assert second.state_dict() == straight.state_dict()


def test_the_state_is_a_value() -> None:
    tracker = NoiseScaleTracker(horizon_observations=2000.0)
    moments = stream(150)
    for m in moments[:100]:
        tracker.update(m)
    state = tracker.state_dict()
    saved = json.dumps(state)
    for m in moments[100:]:
        tracker.update(m)
    assert json.dumps(state) == saved


def test_moments_that_are_not_finite_are_skipped_and_counted() -> None:
    clean, dirty = NoiseScaleTracker(), NoiseScaleTracker()
    broken = group_moments(np.array([[1.0, math.nan], [1.0, 1.0]]), 4)
    for m in stream(20):
        clean.update(m)
        dirty.update(m)
        dirty.update(broken)
    assert dirty.estimate().skipped == 20
    assert dirty.state_dict()["sums"] == clean.state_dict()["sums"]
    assert dirty.estimate().low == clean.estimate().low


def test_before_anything_is_known() -> None:
    tracker = NoiseScaleTracker()
    nothing = tracker.estimate()
    assert math.isnan(nothing.noise_scale)
    assert math.isnan(nothing.grad_sq)
    assert math.isnan(nothing.low)
    assert nothing.high == math.inf
    assert not nothing.resolved
    assert nothing.ladder == ()
    for m in stream(3):
        tracker.update(m)
    early = tracker.estimate()
    assert math.isnan(early.low)
    assert not early.resolved
    assert early.noise_scale == early.trace / early.grad_sq


def test_an_estimate_prints_as_a_sentence() -> None:
    tracker, noise = NoiseScaleTracker(), NoiseScaleTracker(level=0.9)
    assert str(tracker.estimate()) == "noise scale not known yet"
    tracker.update(group_moments(np.array([[1.0, math.nan], [1.0, 1.0]]), 4))
    assert str(tracker.estimate()) == "noise scale not known yet, 1 measurement left out: a gradient was not finite"
    for m in stream(200):
        tracker.update(m)
    found = tracker.estimate()
    assert str(found).startswith(f"noise scale {found.noise_scale:.0f} ({found.low:.0f} to {found.high:.0f}) observ")
    assert repr(found).startswith("NoiseScaleEstimate(noise_scale=")
    for grad_sq in (1.0, -1.2, 0.9, -1.0, 1.1, -0.9, 1.0, -1.0):
        noise.update(of_size(grad_sq, 50.0, 32))
    assert re.fullmatch(r"noise scale at least [\d.]+ observations \(90 %\)", str(noise.estimate()))


def test_zero_gradients_are_undefined_and_not_resolved() -> None:
    tracker = NoiseScaleTracker()
    for _ in range(50):
        tracker.update(group_moments(np.zeros((4, 10)), 8))
    estimate = tracker.estimate()
    assert math.isnan(estimate.noise_scale)
    assert estimate.low == 0
    assert not estimate.resolved
    assert (estimate.grad_sq, estimate.trace) == (0.0, 0.0)


def test_without_noise_the_noise_scale_is_zero() -> None:
    tracker = NoiseScaleTracker()
    for _ in range(50):
        tracker.update(group_moments(np.ones((4, 10)), 8))
    estimate = tracker.estimate()
    assert estimate.noise_scale == pytest.approx(0, abs=1e-9)
    assert estimate.low == 0
    assert estimate.resolved


def test_noise_alone_gives_a_lower_bound_and_keeps_the_sign() -> None:
    rng = np.random.default_rng(1)
    tracker = NoiseScaleTracker()
    for _ in range(200):
        tracker.update(group_moments(rng.normal(size=(4, 50)), 8))
    estimate = tracker.estimate()
    assert not estimate.resolved
    assert estimate.high == math.inf
    assert estimate.low > 0
    negative = NoiseScaleTracker()
    for m in stream(200):
        negative.update(Moments(grad_sq=-m.grad_sq, trace=m.trace, groups=4, observations_per_group=8))
    estimate = negative.estimate()
    assert estimate.grad_sq < 0, "reported as measured"
    assert math.isnan(estimate.noise_scale)
    assert estimate.low > 0
    assert not estimate.resolved


def test_a_higher_level_gives_a_wider_interval() -> None:
    tracker = NoiseScaleTracker(level=0.5)
    for m in stream(300):
        tracker.update(m)
    narrow, wide = tracker.estimate(), tracker.estimate(level=0.99)
    assert (narrow.level, wide.level) == (0.5, 0.99)
    assert wide.low < narrow.low < narrow.noise_scale < narrow.high < wide.high


def test_the_ladder_follows_the_law() -> None:
    tracker = NoiseScaleTracker(horizon_observations=20_000)
    for m in stream(2000):
        tracker.update(m)
    ladder = tracker.estimate().ladder
    assert [rung.batch_observations for rung in ladder] == [8, 16, 32]
    fit = fit_ladder(ladder)
    assert fit.trace == pytest.approx(50, rel=0.05)
    assert fit.grad_sq == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("horizon", [0, -1, math.inf, math.nan])
def test_a_horizon_must_be_positive(horizon: float) -> None:
    with pytest.raises(ValueError, match="horizon_observations must be positive"):
        NoiseScaleTracker(horizon_observations=horizon)


@pytest.mark.parametrize("level", [0, 1, -0.5, 95])
def test_a_level_must_be_a_probability(level: float) -> None:
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        NoiseScaleTracker(level=level)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        NoiseScaleTracker().estimate(level=level)


# ---- Coverage: a corner of the grid of docs/notes/interval.md, at fixed draws --------------------------------------

REPETITIONS = 400
# Four standard errors of a share of 0.95 over the repetitions of one cell.
SLACK = 4 * math.sqrt(0.95 * 0.05 / REPETITIONS)


@pytest.mark.parametrize("horizon", [None, 400 * coverage.BATCH / 3])
def test_the_interval_covers(horizon: float | None) -> None:
    cells = coverage.grid(
        REPETITIONS, 400, horizon=horizon, ratios=(0.01, 0.1, 1.0, 10.0), dimensions=(20, 2000), groups=(4,)
    )
    for cell, result in cells.items():
        assert result.covered > 0.95 - SLACK, cell
        assert result.below < 0.05, cell
        if result.bounded > 0.99:
            assert result.covered < 0.95 + SLACK, cell
    assert np.mean([result.covered for result in cells.values()]) == pytest.approx(0.955, abs=0.02)
    unbounded = [c for cell, c in cells.items() if (cell.ratio, cell.dimension) == (0.01, 20)]
    assert all(c.bounded < 0.5 and c.covered > 0.93 for c in unbounded)


def test_biased_twins_do_not_cover() -> None:
    rng = np.random.default_rng(0)
    cell = coverage.Cell(ratio=0.1, dimension=20, groups=4, autocorrelation=0.0, kind="constant")
    noise = coverage.correlate(coverage.draw_noise(rng, 500, REPETITIONS, 20, 4, heavy=False), 20, 0.0)
    moments, grad_sq, trace = coverage.simulate(noise, cell)
    honest = coverage.coverage(moments, grad_sq, trace, None)
    assert abs(honest.covered - 0.95) < SLACK
    clamped = moments.copy()
    clamped[0] = np.maximum(clamped[0], 0)
    assert coverage.coverage(clamped, grad_sq, trace, None).covered < 0.5
    uncorrected = moments.copy()
    uncorrected[0] += moments[1] / coverage.BATCH
    assert coverage.coverage(uncorrected, grad_sq, trace, None).covered < 0.1


def test_the_simulation_draws_what_gradients_would_give() -> None:
    # The coverage script never forms a gradient: its draws must have the moments of real ones.
    rng = np.random.default_rng(0)
    for heavy in (False, True):
        noise = coverage.draw_noise(rng, 100, 400, 20, 4, heavy)
        gradients = rng.normal(size=(8000, 4, 20))
        if heavy:
            nu = coverage.STUDENT_DEGREES
            gradients *= np.sqrt((nu - 2) / rng.chisquare(nu, size=(8000, 4, 1)))
        products = np.einsum("dip,djp->dij", gradients, gradients)
        total, diagonal = products.sum(axis=(1, 2)), np.einsum("dii->d", products)
        off = (total - diagonal) / 12
        for simulated, real in (
            (noise.along, gradients.mean(axis=1)[:, 0]),
            (noise.off_diagonal, off),
            (noise.spread, diagonal / 4 - off),
        ):
            error = real.std() / math.sqrt(len(real))
            assert abs(simulated.mean() - real.mean()) < 5 * error
            # Quartiles, since the squared norms of heavy tails have hardly a variance.
            quartiles = np.subtract(*np.quantile(real, [0.75, 0.25]))
            assert np.subtract(*np.quantile(simulated, [0.75, 0.25])) == pytest.approx(quartiles, rel=0.07)
