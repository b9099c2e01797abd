"""What adapters share: groups, the model's state, the pace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rlgns.adapters.groups import split, undisturbed
from rlgns.adapters.measurement import AT_ROLLOUT, RolloutNoiseScale
from rlgns.adapters.pace import Pace
from rlgns.config.calibrations import calibration_for


def test_groups_are_of_whole_units_in_order() -> None:
    units = [np.arange(3), np.arange(3, 5), np.arange(5, 9), np.arange(9, 10), np.arange(10, 12)]
    assert [list(group) for group in split(units, 2)] == [list(range(9)), [9, 10, 11]]
    assert [list(group) for group in split(units, 9)] == [list(unit) for unit in units]
    assert split([], 8) == []


def test_a_model_in_training_mode_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    model(torch.ones(5, 3)).sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    values = [gradient.clone() for gradient in gradients]
    buffers = [buffer.clone() for buffer in model.buffers()]
    random = torch.get_rng_state()
    with torch.no_grad(), undisturbed(model):
        for parameter in model.parameters():
            parameter.grad = None
        model(torch.rand(5, 3)).sum().backward()
        assert not torch.equal(torch.get_rng_state(), random)
        assert any(not torch.equal(*pair) for pair in zip(buffers, model.buffers(), strict=True))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(*pair) for pair in zip(buffers, model.buffers(), strict=True))
    for parameter, gradient, value in zip(model.parameters(), gradients, values, strict=True):
        assert parameter.grad is gradient and torch.equal(gradient, value)
    assert model.training


def test_no_calibration_is_taken_as_one_of_this_task() -> None:
    for algorithm in ("ppo", "a2c"):
        assert not calibration_for(algorithm=algorithm, epochs=1, definition=AT_ROLLOUT).exact


def test_a_single_group_is_not_counted() -> None:
    model = nn.Linear(2, 1)
    noise = RolloutNoiseScale(model, groups=4, algorithm="ppo", epochs=4)
    assert noise.row() == {} and noise.verdict().headline() == "Critical batch not known yet."
    data = torch.rand(6, 2)
    for groups in ([np.arange(6)], []):
        noise.measure(
            groups,
            lambda indices: model(data[indices]).mean(),
            chunk_observations=4,
            batch_observations=3,
            learning_rate=0.1,
            observations=6,
        )
    assert noise.estimate().updates == 0 and "noise/at_rollout/scale" not in noise.entries()


def test_the_first_measurement_is_paid_off_before_the_second() -> None:
    seconds = 0.0

    def spend() -> None:
        nonlocal seconds
        seconds += 3.0

    pace, measured = Pace(0.1, lambda: seconds), []
    pace.start()
    for iteration in range(60):
        seconds += 1.0
        due = pace.due()
        measured += [iteration] * due
        pace.end(spend if due else None)
    assert measured == [1, 53]
    assert pace.overhead_fraction == pytest.approx(6 / 66)
