"""How often and which batches are split by loss; what they say is tested in tests/rlgns/noise."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
import torch

from rlgns.agents.batch_gradients import GroupSplit
from rlgns.engine.loss_splits import COST, SHARE, LossSplits
from rlgns.noise.budget import ProbeBudget
from rlgns.noise.config import NoiseConfig

BUDGET = 0.005
ITERATIONS = 2000
INTERVAL = 5
"""Batches from which on there is an interval: four with a known size of gradients before them, and one to spare."""
PROBE_PASSES = 2.6
"""Of all batches of an epoch, in units of one: a forward and three backward passes, and an eighth of them again."""


def losses(minibatches: int, epochs: int = 4, budget: float = BUDGET) -> LossSplits:
    return LossSplits(NoiseConfig(overhead_budget=budget), minibatches=minibatches, epochs=epochs)


def split(splits: LossSplits, step: int, *, divisor: float | None = 1.0, observations: int = 1000) -> None:
    rows = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
    products = torch.einsum("ljx,mkx->lmjk", rows, rows)
    splits.on_losses(products, GroupSplit(observations_per_group=8, shuffled=False, step=step))
    splits.settle({step: divisor}, observations)


@pytest.mark.parametrize(
    ("minibatches", "epochs", "learn_s", "measure_s"),
    [(4, 4, 0.7, 0.0005), (8, 4, 0.6, 0.001), (1, 1, 0.6, 0.0), (8, 4, 0.6, 0.0049), (8, 4, 0.6, 0.006)],
)
def test_extra_passes_and_probes_together_stay_within_the_budget(
    minibatches: int, epochs: int, learn_s: float, measure_s: float
) -> None:
    """Iterations of a second before what is counted: passes, in units of a batch of the update."""
    splits, probe = losses(minibatches, epochs), ProbeBudget(BUDGET)
    batch_s, passes, probes, elapsed_s, known_s = learn_s / (minibatches * epochs), 0, 0, 0.0, 0.0
    for iteration in range(ITERATIONS):
        due, probed = splits.due(), probe.due()
        if due and (step := splits.step(first_is_shuffled=False)) is not None:
            split(splits, step, observations=iteration)
            passes += 1
        probes += probed
        probe_s = PROBE_PASSES * minibatches * batch_s if probed else None
        seconds = 1.0 + COST * batch_s * due + (probe_s or 0)
        elapsed_s += seconds
        splits.end_iteration(seconds=seconds, learn_s=learn_s, measure_s=measure_s)
        assert splits.seconds == (COST * batch_s if due else 0)
        probe.iteration(seconds=seconds, measure_s=measure_s + splits.per_iteration_s, probe_s=probe_s)
        row = splits.report()
        assert row["noise/by_loss/batches"] == passes
        # At first twice as often, but for the first one, which is always taken.
        assert (passes - 1) * COST * batch_s <= 2 * SHARE * max(BUDGET * elapsed_s - measure_s * iteration, 0)
        if passes == INTERVAL and not known_s:
            known_s = elapsed_s
    measured_s, total_s = measure_s * ITERATIONS, BUDGET * elapsed_s
    if minibatches > 1 and measure_s < BUDGET / 2:
        assert known_s < 60  # iterations of a second
    spent_s = passes * COST * batch_s
    room_s = SHARE * max(total_s - measured_s, 0)
    first_s = COST * batch_s  # the first one is always taken, to start with
    assert spent_s <= room_s + first_s
    assert spent_s >= 0.85 * room_s - first_s  # and what is there is used
    all_s = measured_s + spent_s + probes * PROBE_PASSES * minibatches * batch_s
    firsts_s = (COST + PROBE_PASSES * minibatches) * batch_s
    assert all_s <= max(total_s, measured_s) + firsts_s
    if measure_s < BUDGET / 2:
        assert probes >= 2  # the probe has its share too


def test_without_a_budget_nothing_is_split_and_no_key_is_logged() -> None:
    splits = losses(4, budget=0.0)
    for _ in range(5):
        splits.end_iteration(seconds=1.0, learn_s=0.5, measure_s=0.0)
        assert not splits.due()
        assert splits.report() == {}


def test_a_jump_restarts_the_sums_wherever_it_is() -> None:
    """The noise by loss looks back to the last jump, as the noise scale does."""

    def seen(course: list[tuple[int | None, dict[int, float | None]]]) -> float:
        splits = losses(4)
        for iteration, (step, divisors) in enumerate(course):
            if step is not None:
                rows = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(iteration))
                products = torch.einsum("ljx,mkx->lmjk", rows, rows)
                splits.on_losses(products, GroupSplit(observations_per_group=8, shuffled=False, step=step))
            splits.settle(divisors, 1000 * (iteration + 1))
        share = splits.report()["noise/by_loss/value/noise_share"]
        assert isinstance(share, float)
        return share

    usual: dict[int, float | None] = {0: 1.0, 1: 1.0, 2: 1.0}
    newest = [(None, usual)] * 2 + [(1, usual)]
    alone = seen(newest)
    assert seen([(1, usual), (2, usual), (1, usual)]) != alone  # power: older batches count without a jump
    assert seen([(1, usual), (None, {**usual, 2: None}), (1, usual)]) == alone  # in an iteration without a split
    assert seen([(1, usual), (1, {**usual, 2: None}), (1, usual)]) == alone  # after the batch that was split
    assert seen([(1, usual), (1, usual), (1, {**usual, 0: None})]) == alone  # before it
    assert math.isnan(seen([(1, usual), (1, usual), (1, {**usual, 1: None})]))  # at it


@pytest.mark.parametrize("minibatches", [1, 2, 4, 8, 5])
def test_every_step_of_an_epoch_is_split_as_often(minibatches: int) -> None:
    splits = losses(minibatches)
    for stretch in range(1, 30):
        seen = Counter(splits.step(first_is_shuffled=False) for _ in range(minibatches))
        assert len(seen) >= minibatches - 1 - minibatches // 4, (stretch, seen)
    many = Counter(splits.step(first_is_shuffled=False) for _ in range(100 * minibatches))
    assert set(many) == set(range(minibatches))
    assert max(many.values()) - min(many.values()) <= 4


@pytest.mark.parametrize("minibatches", [2, 4, 8])
def test_a_batch_of_shuffled_groups_is_never_split(minibatches: int) -> None:
    splits = losses(minibatches)
    assert all(0 < splits.step(first_is_shuffled=True) < minibatches for _ in range(50))  # type: ignore[operator]
    assert losses(1).step(first_is_shuffled=True) is None


def test_a_saved_state_goes_on() -> None:
    one, other = losses(4), losses(4)
    rows = []
    for iteration in range(9):
        split(one, iteration % 4, observations=100 * iteration)
        one.step(first_is_shuffled=False)
        one.end_iteration(seconds=1.0, learn_s=0.5, measure_s=0.0)
        one.report()
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for each in (one, other):
        step = each.step(first_is_shuffled=False)
        assert step is not None
        split(each, step, observations=1000)
        each.end_iteration(seconds=1.0, learn_s=0.5, measure_s=0.0)
        rows.append(each.report())
    assert rows[0] == rows[1]
    assert rows[0]["noise/by_loss/batches"] == 10
