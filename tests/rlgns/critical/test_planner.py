"""What a goal costs at each batch size, and which to use."""

from __future__ import annotations

import math

import pytest
from scipy.optimize import minimize_scalar

from rlgns.critical import fit_pareto
from rlgns.critical.planner import Machines, TradeOff, plan

GOAL = TradeOff(min_steps=3000, critical_batch=256, critical_batch_low=200, critical_batch_high=300)
SIZES = [2.0**k for k in range(4, 14)]


def test_at_a_fixed_throughput_the_smallest_batch_is_fastest() -> None:
    found = plan(GOAL, SIZES, Machines(throughput=2000, count=3))
    assert found.advised.batch == found.fastest.batch == found.cheapest.batch == 16
    assert found.advised.seconds == pytest.approx(3000 * (1 + 256 / 16) * 16 / 6000)
    assert found.advised.observations / 6000 == pytest.approx(found.advised.seconds)
    assert found.sentence().endswith("the cheapest; no larger batch is faster here")


def test_twice_the_least_steps_and_observations_at_the_critical_batch() -> None:
    at = next(b for b in plan(GOAL, SIZES, Machines(throughput=1)).batches if b.batch == 256)
    assert (at.steps, at.observations) == pytest.approx((2 * GOAL.min_steps, 2 * GOAL.min_observations))
    assert at.step_speed_up == pytest.approx((1 + 256 / 16) / 2)
    assert at.step_speed_up_low < at.step_speed_up < at.step_speed_up_high


def test_the_fastest_batch_where_a_step_has_a_fixed_part() -> None:
    machines = Machines(throughput=2000, count=2, step_s=0.1, fresh=0.25)

    def seconds(log_batch: float) -> float:
        return plan(GOAL, [math.exp(log_batch)], machines).fastest.seconds

    best = math.exp(minimize_scalar(seconds, bounds=(2, 12)).x)
    assert plan(GOAL, SIZES, machines).best_batch == pytest.approx(best, rel=1e-3)


def test_machines_by_batch_trade_time_for_money() -> None:
    machines = Machines(throughput=500, count=64, batch_per_machine=32, price_per_hour=2.0)
    found = plan(GOAL, SIZES, machines)
    assert [option.machines for option in found.batches] == [1, 1, 2, 4, 8, 16, 32, 64, 64, 64]
    assert found.advised.cost <= 2 * found.cheapest.cost and found.advised.seconds < found.cheapest.seconds
    assert found.fastest.batch == 2048
    assert (
        "machine hours" not in found.sentence() and "at 1." in found.sentence("EUR") and " EUR" in found.sentence("EUR")
    )


def test_throughput_as_a_function_of_the_batch() -> None:
    found = plan(GOAL, SIZES, Machines(throughput=lambda batch: min(batch * 10, 5000)))
    assert found.fastest.batch == 512  # Where the machine is full.


def test_from_a_fit() -> None:
    batch = [40.0 * 2**k for k in range(8)]
    goal = TradeOff.from_fit(fit_pareto(batch, [1000 * (1 + 300 / b) for b in batch]))
    assert goal.min_observations == pytest.approx(3e5, rel=1e-5)
    with pytest.raises(ValueError, match="must be positive and finite, got nan"):
        TradeOff.from_fit(fit_pareto(batch[:2], [2.0, 1.0]))


@pytest.mark.parametrize(
    "bad",
    [
        {"throughput": 0},
        {"throughput": 1, "count": 0},
        {"throughput": 1, "fresh": 2},
        {"throughput": 1, "price_per_hour": -1},
        {"throughput": 1, "batch_per_machine": 0},
    ],
)
def test_bad_machines(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="got"):
        Machines(**bad)  # type: ignore[arg-type]


def test_bad_batches_and_pace() -> None:
    with pytest.raises(ValueError, match="batch sizes that are positive"):
        plan(GOAL, [0, 5], Machines(throughput=1))
    with pytest.raises(ValueError, match="throughput must be positive at every batch, got 0"):
        plan(GOAL, [5], Machines(throughput=lambda batch: 0.0))
