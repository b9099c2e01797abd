"""NoiseScaleMonitor that measures some steps: the same training, inside its budget, and what it gives a logger."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from rlgns.metrics.registry import KEYS
from rlgns.noise import NoiseScaleMonitor
from rlgns.noise.step_pace import StepPace
from tests.rlgns.noise.classifier import gradients_of, loss_of, make_batch, make_model, parts_of


class Clock:
    """A second per step outside its block, and one per backward pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def train(steps: int, parts: Callable[[NoiseScaleMonitor], int], clock: Clock | None = None, **options: Any) -> Any:
    """Steps of Adam; returns parameters, monitor and which steps were measured."""
    clock = clock or Clock()
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def backward(loss: torch.Tensor) -> None:
        clock.now += 1.0
        loss.backward()

    monitor = NoiseScaleMonitor(model, groups=4, clock=clock, backward=backward, **options)
    measured = []
    for step in range(steps):
        batch = make_batch(32, seed=step)
        with monitor.step(observations=32):
            for part in parts_of(batch, parts(monitor)):
                monitor.backward(loss_of(model, part))
        measured.append(monitor.moments is not None)
        optimizer.step()
        clock.now += 1.0
    return torch.cat([p.detach().flatten() for p in model.parameters()]), monitor, measured


def test_every_third_step_is_measured_and_training_is_the_same() -> None:
    whole, _, always = train(9, lambda monitor: monitor.parts)
    third, monitor, measured = train(9, lambda monitor: monitor.parts, every=3)
    in_parts, _, _ = train(9, lambda monitor: 4, every=3)
    assert all(always) and measured == [True, False, False] * 3
    assert monitor.estimate().updates == 2, "the first one sets the size"
    torch.testing.assert_close(whole, third)
    torch.testing.assert_close(whole, in_parts)


def test_a_step_that_is_not_measured_is_one_plain_backward_pass() -> None:
    model, batch = make_model(torch.float32), make_batch(32, dtype=torch.float32)
    monitor = NoiseScaleMonitor(model, groups=4, every=2)
    with monitor.step():
        for part in parts_of(batch, monitor.parts):
            monitor.backward(loss_of(model, part))
    assert monitor.parts == 1
    with monitor.step(observations=32):
        monitor.backward(loss_of(model, batch))
    left = gradients_of(model)
    model.zero_grad()
    loss_of(model, batch).backward()
    assert all(torch.equal(mine, plain) for mine, plain in zip(left, gradients_of(model), strict=True))


def test_parts_of_different_sizes_and_an_empty_step_between_measured_ones() -> None:
    model, batch = make_model(), make_batch(30)
    monitor = NoiseScaleMonitor(model, groups=4, overhead=0.0)
    for parts in (1, 4):
        with monitor.step():
            for part in parts_of(batch, parts):
                monitor.backward(loss_of(model, part), observations=len(part[1]))
        left = gradients_of(model)
        model.zero_grad()
        loss_of(model, batch).backward()
        for mine, plain in zip(left, gradients_of(model), strict=True):
            torch.testing.assert_close(mine, plain)
    with monitor.step():
        pass
    assert gradients_of(model) == [] and monitor.estimate().updates == 0


@pytest.mark.parametrize(("overhead", "cost"), [(0.01, 3.0), (0.1, 3.0), (0.4, 3.0), (0.1, 40.0), (0.5, 0.1)])
def test_measuring_stays_inside_the_budget_and_uses_it(overhead: float, cost: float) -> None:
    """A plain step takes a second in its block and one outside."""
    clock = Clock()
    pace = StepPace(overhead=overhead, clock=clock)
    measured = []
    for _ in range(5000):
        pace.begin()
        clock.now += 1.0 + cost * pace.measures
        measured.append(pace.measures)
        pace.end(lambda wait: wait)
        clock.now += 1.0
    assert not measured[0] and measured[1], "the first step's time includes starting up"
    assert not any(one and two for one, two in itertools.pairwise(measured)), "a plain step is the yardstick"
    spent = cost * sum(measured) / (2.0 * 5000 + cost * sum(measured))
    at_most = min(overhead, cost / (4.0 + cost))
    assert 0.8 * at_most - cost / 10_000 <= spent <= at_most + cost / 10_000
    assert pace.overhead_fraction == pytest.approx(spent, rel=0.02, abs=cost / 10_000)


@pytest.mark.parametrize("overhead", [0.01, 0.2])
@pytest.mark.parametrize("cost", [0.001, 0.3, 2.5])
def test_steps_whose_cost_the_caller_knows_stay_within_the_budget(overhead: float, cost: float) -> None:
    clock, measured, shares = Clock(), [], []
    pace = StepPace(overhead=overhead, clock=clock, timed=True)
    clock.now += 100.0
    pace.start()
    for step in range(3000):
        clock.now += 5.0 if step == 0 else 1.0  # the first starts the host
        due = pace.measures
        if due:
            measured.append(step)
            clock.now += cost
            pace.spent(cost)
        pace.end(lambda wait: wait)
        shares += [pace.overhead_fraction] if due else []
    assert measured[0] == 2, "the first step's time includes starting up, and so may the second's"
    spent = len(measured) * cost / (clock.now - 100.0)
    assert pace.overhead_fraction == pytest.approx(spent)
    assert max(shares[1:], default=0.0) <= overhead * (1 + 1e-9), "the first is paid off before the second"
    apart = math.ceil(cost * (1 - overhead) / overhead - 1e-9)
    assert spent >= 0.95 * cost / (apart + cost) - cost / 3000
    restored = StepPace(overhead=overhead, clock=clock, timed=True)
    restored.load_state_dict(json.loads(json.dumps(pace.state_dict())))
    assert restored.state_dict() == pace.state_dict() and restored.measures == pace.measures


def test_a_step_that_could_not_be_measured_leaves_the_next_one_due() -> None:
    clock = Clock()
    pace = StepPace(overhead=0.1, clock=clock, timed=True)
    pace.start()
    due = []
    for _ in range(5):
        clock.now += 1.0
        due.append(pace.measures)
        pace.end(lambda wait: wait)
    assert due == [False, False, True, True, True]
    pace.spent(1.0)
    pace.end(lambda wait: wait)
    assert not pace.measures


def test_a_state_of_an_older_version_is_not_taken_over() -> None:
    pace = StepPace(overhead=0.1, timed=True)
    before = pace.state_dict()
    pace.load_state_dict({"elapsed_s": 5.0, "overhead_s": 1.0, "step_s": 1.0, "steps": 4.0, "next": 9.0})
    assert pace.state_dict() == before


def test_never_and_without_a_budget() -> None:
    _, monitor, measured = train(20, lambda monitor: monitor.parts, overhead=0.0)
    assert not any(measured) and monitor.as_dict()["noise/updates"] == 0


def test_processes_wait_for_the_one_that_waits_longest() -> None:
    clock = Clock()
    pace = StepPace(overhead=0.1, clock=clock)
    asked, measured = [], []

    def agree(wait: int) -> int:
        asked.append(wait)
        return wait + 7

    for _ in range(100):
        pace.begin()
        clock.now += 4.0 if pace.measures else 1.0
        measured.append(pace.measures)
        pace.end(agree)
    first, second = [step for step, was in enumerate(measured) if was][:2]
    assert second == first + 1 + asked[0] + 7 + 1
    assert len(asked) in (sum(measured), sum(measured) - 1), "asked after the step that follows a measured one"


def test_the_pace_is_part_of_the_state() -> None:
    _, first, _ = train(30, lambda monitor: monitor.parts, overhead=0.1)
    second = NoiseScaleMonitor(make_model(), groups=4, overhead=0.1)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.state_dict() == first.state_dict()
    assert second.as_dict() == first.as_dict()
    third = NoiseScaleMonitor(make_model(), groups=4, every=5)
    third.load_state_dict(first.state_dict())
    assert third.parts == 4, "the pace of another kind is not taken over"


def test_the_logger_gets_documented_numbers_that_are_known() -> None:
    _, monitor, _ = train(12, lambda monitor: monitor.parts)
    entries = monitor.as_dict()
    estimate = monitor.estimate()
    assert entries["noise/scale_low"] == estimate.low and entries["noise/now_low"] == estimate.now_low
    assert entries["noise/updates"] == 11
    assert set(entries) <= set(KEYS)
    assert all(not isinstance(value, float) or math.isfinite(value) for value in entries.values())
    assert "noise/overhead_fraction" not in entries
    assert set(NoiseScaleMonitor(make_model()).as_dict()) >= {"noise/updates", "noise/skipped"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "every must be a whole number from 1, got 0"),
        ({"every": 1.5}, r"every must be a whole number from 1, got 1\.5"),
        ({"overhead": 1.0}, r"from 0 to below 1, got 1\.0"),
        ({"every": 2, "overhead": 0.1}, r"cannot be used together, got every=2 and overhead=0\.1"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NoiseScaleMonitor(make_model(), **options)


def test_accelerate_runs_its_own_backward() -> None:
    accelerate = pytest.importorskip("accelerate", reason="needs Accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    moments = []
    for backward in (None, accelerator.backward):
        model = accelerator.prepare(make_model())
        monitor = NoiseScaleMonitor(model, groups=4, backward=backward)
        with monitor.step(observations=32):
            for part in parts_of(make_batch(32), 4):
                monitor.backward(loss_of(model, part))
        moments.append(monitor.moments)
    assert moments[0] == moments[1]
