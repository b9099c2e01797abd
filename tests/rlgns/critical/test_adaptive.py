"""Which batch the adaptive batch chooses: against its slow twin, laws, and a course whose best batch is known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgns.critical.adaptive import HOLD_ITERATIONS, TargetBatch, next_envs, target_batch
from rlgns.critical.gamma import PredictedGamma
from tests.reference.critical import slow_next_envs

TIERS = [8, 16, 32, 64, 128]
STEPS = 16
NAN, INF = math.nan, math.inf

sizes = st.floats(min_value=1, max_value=1e5)


def choose(target: TargetBatch, num_envs: int, held: int = 100) -> int:
    batch = num_envs * STEPS / 4
    return next_envs(target, num_envs=num_envs, batch_observations=batch, tiers=TIERS, held_iterations=held)


def test_the_target_is_the_root_of_exchange_rate_times_noise_scale() -> None:
    target = target_batch(100, 400, 900, exchange_rate=1600)
    assert (target.low, target.best, target.high) == (400, 800, 1200)
    assert target_batch(100, 400, 900, exchange_rate=NAN).best == 400  # the run so far is this moment: r = N
    assert target_batch(-5, 400, 900, exchange_rate=1600).low == 0


@pytest.mark.parametrize("low", [NAN, 0.0, 250.0])
def test_without_an_upper_end_there_is_a_lower_target_alone(low: float) -> None:
    for high in (INF, NAN):
        target = target_batch(low, 1e4, high, exchange_rate=1000)
        assert math.isnan(target.best) and math.isinf(target.high)
        assert target.low == (500 if low == 250 else 0)


@given(
    ends=st.lists(sizes, min_size=3, max_size=3),
    resolved=st.booleans(),
    num_envs=st.sampled_from(TIERS),
    held=st.integers(min_value=0, max_value=20),
)
@settings(deadline=None)
def test_the_rule_is_its_slow_twin(ends: list[float], resolved: bool, num_envs: int, held: int) -> None:
    low, best, high = sorted(ends)
    target = TargetBatch(best=best, low=low, high=high) if resolved else TargetBatch(low=low)
    slow = {"best": best, "low": low, "high": high} if resolved else {"low": low}
    assert choose(target, num_envs, held) == slow_next_envs(slow, num_envs, num_envs * STEPS / 4, TIERS, held)


@given(low=st.one_of(st.just(NAN), st.floats(min_value=-10, max_value=1e6)), num_envs=st.sampled_from(TIERS))
@settings(deadline=None)
def test_a_lower_bound_alone_never_makes_it_shrink(low: float, num_envs: int) -> None:
    target = target_batch(low, NAN, INF, exchange_rate=300)
    assert choose(target, num_envs) >= num_envs


@given(scale=sizes, average=sizes, num_envs=st.sampled_from(TIERS))
@settings(deadline=None)
def test_it_settles_and_a_noise_scale_that_wavers_does_not_move_it(scale: float, average: float, num_envs: int) -> None:
    """At rest, a noise scale up to 1.41 times larger or smaller either way changes at most once."""
    for _ in TIERS:
        num_envs = choose(target_batch(0.7 * scale, scale, 1.4 * scale, exchange_rate=average), num_envs)
    moved = []
    for factor in (1.41, 1 / 1.41, 1.41, 1 / 1.41, 1.41):
        now = factor * scale
        chosen = choose(target_batch(0.7 * now, now, 1.4 * now, exchange_rate=average), num_envs)
        moved += [chosen] if chosen != num_envs else []
        num_envs = chosen
    assert len(moved) <= 1


def test_a_change_waits_for_the_last_one_and_stops_at_the_ends() -> None:
    much, little = TargetBatch(best=1e6, low=1e6, high=1e6), TargetBatch(best=1, low=1, high=1)
    assert (choose(much, 32, HOLD_ITERATIONS - 1), choose(much, 32, HOLD_ITERATIONS)) == (32, 64)
    assert (choose(much, 128), choose(little, 8), choose(little, 32)) == (128, 8, 16)


def test_an_annealed_learning_rate_is_no_reason_to_change() -> None:
    much, given = TargetBatch(best=1e6, low=1e6, high=1e6), {"num_envs": 32, "batch_observations": 128.0}
    for share, expected in ((1.0, 64), (0.5, 64), (0.49, 32), (0.0, 32)):
        assert next_envs(much, tiers=TIERS, held_iterations=100, rate_share=share, **given) == expected  # type: ignore[arg-type]


def test_an_interval_that_reaches_across_changes_nothing() -> None:
    """At 32 environments the batch is 128."""
    assert choose(TargetBatch(best=500, low=120, high=2000), 32) == 32
    assert choose(TargetBatch(best=500, low=130, high=2000), 32) == 64
    assert choose(TargetBatch(best=40, low=10, high=130), 32) == 32
    assert choose(TargetBatch(best=40, low=10, high=120), 32) == 16


def course(points: int = 400) -> list[float]:
    """A noise scale that grows from 20 to 2,000 in equal full-batch steps."""
    return [20 * 100 ** (i / (points - 1)) for i in range(points)]


def cost(batches: list[float], scales: list[float]) -> tuple[float, float]:
    """S and E of one full-batch step at each batch and noise scale."""
    steps = sum(1 + scale / batch for scale, batch in zip(scales, batches, strict=True))
    return steps, sum(scale + batch for scale, batch in zip(scales, batches, strict=True))


def test_doublings_keep_nearly_all_of_the_gain() -> None:
    """The rule on a known course: below the front of fixed batches and near gamma, its ideal; its opposite is above."""
    scales = course()
    min_steps, min_observations = len(scales), sum(scales)
    rate = min_observations / min_steps
    num_envs, batches, ideal = 8, [], PredictedGamma()
    for scale in scales:
        ideal.update(scale, 1.0, 1 + scale)  # one full-batch step
        target = target_batch(scale, scale, scale, exchange_rate=rate)
        num_envs = choose(target, num_envs)
        batches.append(num_envs * STEPS / 4)

    def gamma(used: list[float]) -> float:
        steps, observations = cost(used, scales)
        return (steps / min_steps - 1) * (observations / min_observations - 1)

    assert gamma([rate] * len(scales)) == pytest.approx(1)
    assert ideal.value < 0.8
    assert ideal.value - 1e-9 <= gamma(batches) < ideal.value + 0.1
    assert gamma(batches[::-1]) > 1  # a twin that shrinks while it should grow is seen
