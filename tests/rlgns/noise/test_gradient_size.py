"""The scale-free ratio: consistent, untouched by the size of the gradients, and its biased twin is caught."""

import dataclasses
import json

import numpy as np
import pytest

from rlgns.noise import GradientSize, Moments, NoiseScaleTracker, group_moments, scaled
from rlgns.noise.block_sums import BlockSums

DIMENSION, GROUPS, PER_GROUP, TRACE, GRAD_SQ = 4, 2, 8, 400.0, 4.0
TRUTH = TRACE / GRAD_SQ


def draw(rng: np.random.Generator, size: float = 1.0) -> Moments:
    """Moments of one batch of Gaussian gradients with noise scale TRUTH, all gradients times sqrt(size)."""
    truth = np.full(DIMENSION, np.sqrt(GRAD_SQ / DIMENSION))
    noise = rng.standard_normal((GROUPS, DIMENSION)) * np.sqrt(TRACE / DIMENSION / PER_GROUP)
    return group_moments((truth + noise) * np.sqrt(size), observations_per_group=PER_GROUP)


def draws(rng: np.random.Generator, count: int) -> list[Moments]:
    """The same batches as so many calls of `draw` give, without their ladders."""
    truth = np.full(DIMENSION, np.sqrt(GRAD_SQ / DIMENSION))
    noise = rng.standard_normal((count, GROUPS, DIMENSION)) * np.sqrt(TRACE / DIMENSION / PER_GROUP)
    gradients = truth + noise
    own = np.einsum("bgd,bgd->b", gradients, gradients) / GROUPS
    others = (np.sum(gradients.sum(axis=1) ** 2, axis=1) / GROUPS - own) / (GROUPS - 1)
    return [
        Moments(grad_sq=g, trace=t, groups=GROUPS, observations_per_group=PER_GROUP)
        for g, t in zip(others.tolist(), (PER_GROUP * (own - others)).tolist(), strict=True)
    ]


def tracked(batches: list[Moments]) -> float:
    """Noise scale of a stream."""
    size, tracker = GradientSize(), NoiseScaleTracker()
    for moments in batches:
        relative = size.divide(moments)
        if relative is None:
            tracker.restart()
        else:
            tracker.update(relative)
    return tracker.estimate().noise_scale


def divided_by_own_size(batches: list[Moments]) -> float:
    """The biased twin: the ratio of sums in which each batch is divided by its own size."""
    moments = np.array([(batch.grad_sq, batch.trace) for batch in batches])
    grad_sq, trace = (moments / (moments[:, :1] + moments[:, 1:] / PER_GROUP)).sum(axis=0)
    return float(trace / grad_sq)


def test_many_draws_at_once_are_the_same() -> None:
    one, many = np.random.default_rng(0), np.random.default_rng(0)
    for slow, fast in zip([draw(one) for _ in range(20)], draws(many, 20), strict=True):
        assert (fast.grad_sq, fast.trace) == pytest.approx((slow.grad_sq, slow.trace), rel=1e-9)


def test_the_ratio_is_consistent_and_dividing_by_a_batchs_own_size_is_not() -> None:
    rng = np.random.default_rng(0)
    runs = [draws(rng, 400) for _ in range(200)]
    # The inverse ratio is unbiased to first order in the noisier moment, |G|^2.
    inverse = np.array([1 / tracked(run) for run in runs])
    biased = np.array([1 / divided_by_own_size(run) for run in runs])
    error = inverse.std(ddof=1) / np.sqrt(len(inverse))
    assert abs(inverse.mean() - 1 / TRUTH) < 4 * error
    assert abs(biased.mean() - 1 / TRUTH) > 4 * error


def test_a_burst_of_large_gradients_does_not_rule_the_sums() -> None:
    rng = np.random.default_rng(1)
    # The first batches: a thousand times the size, and another noise scale (their |G|^2 is 50 times as large again).
    burst = [dataclasses.replace(scaled(draw(rng), 1000), grad_sq=1000 * 50 * GRAD_SQ) for _ in range(8)]
    batches = burst + [draw(rng) for _ in range(2000)]
    plain = NoiseScaleTracker()
    for moments in batches:
        plain.update(moments)
    assert plain.estimate().noise_scale < 0.2 * TRUTH
    assert tracked(batches) == pytest.approx(TRUTH, rel=0.1)


def test_one_jump_does_not_rule_the_sums() -> None:
    """A batch 7,000 times as large as the ones before, all signal: without a new phase it is all that is seen."""
    rng = np.random.default_rng(4)
    jump = dataclasses.replace(scaled(draw(rng), 7000), grad_sq=7000 * (GRAD_SQ + TRACE / PER_GROUP))
    batches = [draw(rng) for _ in range(20)] + [jump] + [draw(rng) for _ in range(2000)]
    assert 0.8 * TRUTH < tracked(batches) < 1.2 * TRUTH
    lasting = [draw(rng) for _ in range(20)] + [jump] + [draw(rng, size=7000) for _ in range(2000)]
    assert 0.8 * TRUTH < tracked(lasting) < 1.2 * TRUTH
    size, without = GradientSize(), NoiseScaleTracker()
    for moments in batches:
        before = size.value
        size.divide(moments)
        if before is not None:
            without.update(scaled(moments, 1 / before))
    assert without.estimate().noise_scale < 0.2 * TRUTH


def sparse_batches(rng: np.random.Generator, batches: int, rate: float, amplitude: float) -> list[Moments]:
    """Moments of batches of 8 groups, each one environment; one in 1 / rate has a gradient of this amplitude."""
    factor = np.where(rng.random((batches, 8, 1)) < rate, amplitude, 1.0)
    gradients = factor * (1.0 + 2.0 * rng.standard_normal((batches, 8, 15)))
    own = np.einsum("bgd,bgd->b", gradients, gradients) / 8
    others = (np.sum(gradients.sum(axis=1) ** 2, axis=1) / 8 - own) / 7
    return [
        Moments(grad_sq=g, trace=t, groups=8, observations_per_group=1)
        for g, t in zip(others.tolist(), (own - others).tolist(), strict=True)
    ]


@pytest.mark.parametrize(("rate", "amplitude", "batches"), [(0.01, 30.0, 400), (0.002, 100.0, 1000)])
def test_few_environments_with_large_gradients_are_not_cut_off(rate: float, amplitude: float, batches: int) -> None:
    """40 runs: the ratio of means is within 10 %, and limiting a batch to 16 times the size before is not."""
    rng = np.random.default_rng(5)
    second = 1 - rate + rate * amplitude**2
    first = 1 - rate + rate * amplitude
    truth = (second * 15 * (1 + 4) - 15 * first**2) / (15 * first**2)
    sums = {"ours": np.zeros(2), "limited": np.zeros(2)}
    for _ in range(40):
        size, mine, mean = GradientSize(), BlockSums(None), None
        limited = np.zeros(2)
        for moments in sparse_batches(rng, batches, rate, amplitude):
            relative = size.divide(moments)
            if relative is None:
                mine.clear()
            else:
                mine.update(np.array([relative.grad_sq, relative.trace]), 8)
            new = moments.grad_sq + moments.trace
            if mean is not None:
                limited += np.array([moments.grad_sq, moments.trace]) / max(mean, new / 16)
            mean = new if mean is None else mean + (new - mean) / 16
        total = mine.mean()
        assert total is not None
        sums["ours"] += total
        sums["limited"] += limited / batches
    assert sums["ours"][1] / sums["ours"][0] == pytest.approx(truth, rel=0.1)
    assert sums["limited"][1] / sums["limited"][0] < 0.8 * truth


def test_after_an_outlier_only_a_larger_one_begins_a_phase_and_a_jump_that_lasts_is_no_outlier() -> None:
    one = Moments(grad_sq=0.0, trace=8.0, groups=8, observations_per_group=1)

    def begins(sizes: list[float]) -> list[int]:
        size = GradientSize()
        return [place for place, factor in enumerate(sizes) if size.divide(scaled(one, factor)) is None]

    calm = [1.0] * 200
    assert begins([*calm, 100.0, *calm, 100.0, *calm, 390.0, *calm, 3000.0]) == [0, 200, 803]
    assert begins([*calm, *[100.0] * 200, 10_000.0]) == [0, 200, 400], "the first jump lasted"


def test_a_larger_batch_weighs_by_its_observations_and_not_more() -> None:
    """Half of the observations in groups 16 times as large, with another noise scale: the ratio of equal weights."""
    # The first 16 of the larger ones are still divided by sizes in between.
    moments = [
        Moments(grad_sq=1.0, trace=trace, groups=2, observations_per_group=group)
        for group, trace in [(PER_GROUP, 1000.0)] * 6400 + [(16 * PER_GROUP, 3000.0)] * 400
    ]
    size, tracker = GradientSize(), NoiseScaleTracker()
    divisors = []
    for batch in moments:
        relative = size.divide(batch)
        if relative is not None:
            tracker.update(relative)
            divisors.append(size.divisor)
    sizes = [1 + 1000 / PER_GROUP, 1 + 3000 / PER_GROUP]
    assert (divisors[1500], divisors[-1]) == (pytest.approx(sizes[0]), pytest.approx(sizes[1], rel=0.02))
    equal = (1000 / sizes[0] + 3000 / sizes[1]) / (1 / sizes[0] + 1 / sizes[1])
    assert tracker.estimate().noise_scale == pytest.approx(equal, rel=0.05)


def test_a_steady_change_of_size_changes_nothing() -> None:
    still, falling = np.random.default_rng(2), np.random.default_rng(2)
    one = tracked([draw(still) for _ in range(1000)])
    other = tracked([draw(falling, size=0.999**step) for step in range(1000)])
    assert other == pytest.approx(one, rel=0.02)


def test_the_first_batch_has_nothing_before_it_and_bad_ones_change_nothing() -> None:
    size, rng = GradientSize(), np.random.default_rng(3)
    first = draw(rng)
    assert size.divide(first) is None
    before = size.value
    assert before == pytest.approx(first.grad_sq + first.trace / PER_GROUP)
    broken = dataclasses.replace(first, grad_sq=float("nan"), trace=float("nan"))
    assert size.divide(broken) is broken
    assert size.value == before
    second = draw(rng)
    divided = size.divide(second)
    assert divided is not None
    assert divided.trace == pytest.approx(second.trace / before)
    assert divided.ladder[-1].grad_sq_norm == pytest.approx(second.ladder[-1].grad_sq_norm / before)
    copy, older = GradientSize(), GradientSize()
    copy.load_state_dict(json.loads(json.dumps(size.state_dict())))
    older.load_state_dict({"value": size.value, "group": PER_GROUP})
    assert older.value == size.value
    third = draw(rng)
    assert copy.divide(third) == size.divide(third)
    assert (copy.value, copy.state_dict()) == (size.value, size.state_dict())


def test_zero_gradients_are_waited_out() -> None:
    size = GradientSize()
    zero = Moments(grad_sq=0.0, trace=0.0, groups=2, observations_per_group=1)
    assert size.divide(zero) is None
    assert size.divide(zero) is None
    assert size.divide(dataclasses.replace(zero, grad_sq=1.0)) is None
    assert size.divide(zero) is not None


def test_an_average_over_less_than_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="batches must be at least 1, got 0"):
        GradientSize(batches=0)
