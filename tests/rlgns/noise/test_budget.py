"""The probe's cadence on made-up seconds."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable

import pytest

from rlgns.noise.budget import ProbeBudget


def play(
    budget: ProbeBudget,
    iterations: int,
    *,
    probe_s: float | Callable[[int], float] = 0.5,
    iteration_s: float | Callable[[int], float] = 1.0,
    measure_s: float = 0.0,
    first: int = 0,
) -> list[int]:
    """Iterations of which some are probed, as a fake clock tells; returns which were."""
    probed = []
    for number in range(first, first + iterations):
        plain = iteration_s(number) if callable(iteration_s) else iteration_s
        cost = (probe_s(number) if callable(probe_s) else probe_s) if budget.due() else None
        if cost is not None:
            probed.append(number)
        budget.iteration(seconds=plain + (cost or 0.0), measure_s=measure_s, probe_s=cost)
    return probed


def test_the_cadence_follows_from_costs() -> None:
    budget = ProbeBudget(0.02)
    assert budget.every is None and math.isnan(budget.overhead_fraction)
    probed = play(budget, 200)
    assert budget.every == 25  # 0.5 * 0.98 / 0.02 = 24.5
    assert probed[0] == 1
    assert probed[1] >= 2 * 24  # the first probe is paid off, and the second's own cost is there
    assert all(25 <= b - a <= 26 for a, b in itertools.pairwise(probed[1:]))
    assert 0.015 < budget.overhead_fraction <= 0.02


@pytest.mark.parametrize("fraction", [0.005, 0.02, 0.1, 0.5])
def test_the_budget_is_held_on_a_noisy_machine(fraction: float) -> None:
    """Seconds vary threefold and the machine slows down for a while; once the first probe is paid off, it is held."""
    draw = random.Random(0)
    budget, fractions = ProbeBudget(fraction), []
    for number in range(4000):
        slow = 4.0 if 1000 < number < 1500 else 1.0
        cost = 0.4 * slow * draw.uniform(0.6, 1.8) if budget.due() else None
        seconds = 0.9 * slow * draw.uniform(0.6, 1.8) + (cost or 0.0)
        budget.iteration(seconds=seconds, measure_s=0.001 * seconds, probe_s=cost)
        fractions.append(budget.overhead_fraction)
    assert max(fractions[1000:]) <= 1.05 * fraction  # a probe may cost more than it was expected to
    assert fractions[-1] > 0.6 * fraction  # and the budget is used


def test_what_rides_along_counts() -> None:
    budget = ProbeBudget(0.02)
    play(budget, 500, measure_s=0.01)
    assert budget.every == 49  # 0.5 * 0.98 / (0.02 - 0.01)
    assert 0.017 < budget.overhead_fraction <= 0.02
    dear = ProbeBudget(0.02)
    assert play(dear, 500, measure_s=0.03) == [1]  # the first tells the cost, then there is no room
    assert dear.every is None


def test_a_slow_first_iteration_does_not_set_the_cadence() -> None:
    budget = ProbeBudget(0.1)
    play(budget, 30, iteration_s=lambda number: 60.0 if number == 0 else 1.0)
    assert budget.every == 5


def test_cheap_probes_run_in_every_iteration_and_none_where_nothing_is_to_be_spent() -> None:
    assert play(ProbeBudget(0.5), 10, probe_s=0.1) == list(range(1, 10))
    assert play(ProbeBudget(0.0), 100) == []
    with pytest.raises(ValueError, match=r"from 0 to below 1, got 1\.5"):
        ProbeBudget(1.5)


def test_a_resumed_cadence_goes_on_as_if_nothing_had_happened() -> None:
    whole, first, second = ProbeBudget(0.05), ProbeBudget(0.05), ProbeBudget(0.05)
    expected = play(whole, 400)
    probed = play(first, 137)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert probed + play(second, 263, first=137) == expected
    assert second.state_dict() == whole.state_dict()
