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
    units = [np.arange(3 * number, 3 * number + 3) for number in range(5)]
    assert [list(group) for group in split(units, 2)] == [list(range(9)), list(range(9, 15))]
    assert [list(group) for group in split(units, 9)] == [list(unit) for unit in units]
    assert split([], 8) == []


def windows(rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Gradients (one number each) of 32 environments for 64 steps, and the rows of environments and of games.

    Neighbours are alike; games are independent and 100 steps long.
    """
    values = np.empty((32, 64))
    environments, games = [], []
    for env in range(32):
        rows = np.arange(64) + 64 * env
        end = int(rng.integers(100)) + 1
        environments.append(rows)
        games += [rows[:end], rows[end:]] if end < 64 else [rows]
        for game in (slice(0, end), slice(end, 64)):
            walk = rng.normal()
            for step in range(*game.indices(64)):
                values[env, step] = walk
                walk = 0.967 * walk + 0.255 * rng.normal()
    return values.reshape(-1), environments, games


def trace(values: np.ndarray, groups: list[np.ndarray]) -> float:
    means, sizes = np.array([values[group].mean() for group in groups]), np.array([len(group) for group in groups])
    return float((sizes * (means - values.mean()) ** 2).sum() / (len(groups) - 1))


def test_games_of_any_length_have_the_noise_of_their_environments() -> None:
    """400 draws; the twin puts random games into groups, whatever their length."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        values, environments, games = windows(rng)
        order = [games[game] for game in rng.permutation(len(games))]
        shares = np.array_split(np.arange(len(order)), 32)
        alike = [np.concatenate([order[game] for game in share]) for share in shares]
        found.append([trace(values, groups) for groups in (environments, split(order, 32), alike)])
    truth, dealt, twin = np.mean(found, axis=0)
    assert dealt == pytest.approx(truth, rel=0.04)
    assert twin < 0.93 * truth


def test_units_of_different_lengths_make_nearly_equal_groups() -> None:
    units = [np.arange(size) + 100 * number for number, size in enumerate((5, 64, 64, 59))]
    groups = split(units, 3)
    assert [len(group) for group in groups] == [64, 64, 64]
    assert {int(row) // 100 for row in groups[2]} == {0, 3}


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
