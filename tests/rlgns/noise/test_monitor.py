"""NoiseScaleMonitor against one autograd call per observation, and everything a training loop may do to it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from rlgns.noise import NoiseScaleMonitor, NoiseScaleTracker, group_moments
from tests.reference.noise import observation_gradients, slow_moments
from tests.rlgns.noise.classifier import gradients_of, loss_of, make_batch, make_model, parts_of


def test_equals_one_gradient_per_observation_and_leaves_the_batch_gradient() -> None:
    model, batch = make_model(), make_batch(32)
    monitor = NoiseScaleMonitor(model, groups=4)
    with monitor.step(observations=32):
        for part in parts_of(batch, 4):
            monitor.backward(loss_of(model, part))
    left = gradients_of(model)
    rows = observation_gradients(model, lambda i: loss_of(model, (batch[0][i : i + 1], batch[1][i : i + 1])), 32)
    grad_sq, trace = slow_moments(list(rows.reshape(4, 8, -1)))
    assert monitor.moments is not None
    assert monitor.moments.grad_sq == pytest.approx(grad_sq, rel=1e-9)
    assert monitor.moments.trace == pytest.approx(trace, rel=1e-9)
    assert monitor.moments.observations == 32
    np.testing.assert_allclose(torch.cat([g.flatten() for g in left]).numpy(), rows.mean(axis=0), rtol=1e-9)
    model.zero_grad()
    loss_of(model, batch).backward()
    for mine, plain in zip(left, gradients_of(model), strict=True):
        torch.testing.assert_close(mine, plain)


def test_training_goes_as_without_it() -> None:
    ends = []
    for monitored in (False, True):
        model = make_model()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        monitor = NoiseScaleMonitor(model, groups=4)
        for step in range(10):
            batch = make_batch(32, seed=step)
            if monitored:
                with monitor.step(observations=32):
                    for part in parts_of(batch, 4):
                        monitor.backward(loss_of(model, part))
            else:
                optimizer.zero_grad()
                loss_of(model, batch).backward()
            optimizer.step()
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        assert monitor.estimate().updates == (9 if monitored else 0), "the first step sets the size"
    torch.testing.assert_close(*ends)


def test_micro_batches_join_into_groups() -> None:
    model, batch = make_model(), make_batch(48)
    monitor, joined = NoiseScaleMonitor(model, groups=3), NoiseScaleMonitor(model, groups=3)
    with monitor.step(observations=48):
        for part in parts_of(batch, 3):
            monitor.backward(loss_of(model, part))
    plain = gradients_of(model)
    with joined.step(observations=48, parts=12):
        for part in parts_of(batch, 12):
            joined.backward(loss_of(model, part))
    assert monitor.moments is not None
    assert joined.moments is not None
    assert joined.moments.grad_sq == pytest.approx(monitor.moments.grad_sq, rel=1e-9)
    assert joined.moments.trace == pytest.approx(monitor.moments.trace, rel=1e-9)
    for mine, other in zip(plain, gradients_of(model), strict=True):
        torch.testing.assert_close(mine, other)


def test_parts_of_different_sizes() -> None:
    model, batch = make_model(), make_batch(30)
    monitor = NoiseScaleMonitor(model, groups=4)
    with monitor.step():
        for part in parts_of(batch, 4):
            monitor.backward(loss_of(model, part), observations=len(part[1]))
    left = gradients_of(model)
    model.zero_grad()
    loss_of(model, batch).backward()
    for mine, plain in zip(left, gradients_of(model), strict=True):
        torch.testing.assert_close(mine, plain)
    assert monitor.moments is not None
    assert monitor.moments.is_finite


def test_a_short_last_batch_is_measured_by_its_whole_groups_or_not_at_all() -> None:
    model = make_model()
    monitor = NoiseScaleMonitor(model, groups=4)
    for parts, measured in ((3, True), (1, False), (0, False)):
        with monitor.step():
            for part in parts_of(make_batch(12), 3)[:parts]:
                monitor.backward(loss_of(model, part))
        assert (monitor.moments is not None) == measured
        assert bool(gradients_of(model)) == (parts > 0)
    with monitor.step(parts=8):
        for part in parts_of(make_batch(25), 5):
            monitor.backward(loss_of(model, part))
    assert monitor.moments is None, "five parts leave half a group"
    assert monitor.estimate().updates == 0, "the first step sets the size"
    left = gradients_of(model)
    model.zero_grad()
    loss_of(model, make_batch(25)).backward()
    for mine, plain in zip(left, gradients_of(model), strict=True):
        torch.testing.assert_close(mine, plain)


def test_parameters_without_a_gradient_count_as_zero_and_frozen_ones_stay_out() -> None:
    model = torch.nn.ModuleDict({"used": make_model(), "unused": make_model(), "now_and_then": make_model()}).double()
    frozen = next(model["used"].parameters())
    frozen.requires_grad_(False)
    monitor = NoiseScaleMonitor(model, groups=4)
    parts = parts_of(make_batch(16), 4)
    rows = []
    for i, part in enumerate(parts):
        model.zero_grad()
        loss = loss_of(model["used"], part) + (loss_of(model["now_and_then"], part) if i == 2 else 0)
        loss.backward()
        rows.append(
            np.concatenate(
                [(p.grad if p.grad is not None else 0 * p).detach().numpy().ravel() for p in model.parameters()]
            )
        )
    with monitor.step(observations=16):
        for i, part in enumerate(parts):
            monitor.backward(loss_of(model["used"], part) + (loss_of(model["now_and_then"], part) if i == 2 else 0))
    expected = group_moments(np.stack(rows), observations_per_group=4)
    assert monitor.moments is not None
    assert monitor.moments.grad_sq == pytest.approx(expected.grad_sq, rel=1e-9)
    assert monitor.moments.trace == pytest.approx(expected.trace, rel=1e-9)
    assert frozen.grad is None
    assert all(p.grad is None for p in model["unused"].parameters())
    assert all(p.grad is not None for p in model["now_and_then"].parameters())


def test_state_goes_through_json_and_a_step_that_failed_leaves_no_trace() -> None:
    model = make_model()
    first, second = (
        NoiseScaleMonitor(model, groups=4, horizon_observations=500),
        NoiseScaleMonitor(model, groups=4, horizon_observations=500),
    )

    def one_step(monitor: NoiseScaleMonitor, seed: int) -> None:
        with monitor.step(observations=32):
            for part in parts_of(make_batch(32, seed), 4):
                monitor.backward(loss_of(model, part))

    for seed in range(10):
        one_step(first, seed)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    with pytest.raises(ZeroDivisionError), second.step():
        _ = 1 // 0
    one_step(first, 10)
    one_step(second, 10)
    assert first.estimate() == second.estimate()
    tracker = NoiseScaleTracker(horizon_observations=500, follows_run=True)
    tracker.load_state_dict(first.state_dict())
    assert first.estimate() == tracker.estimate().scaled(first.state_dict()["size"]["value"])
    older = {name: value for name, value in first.state_dict().items() if name not in ("size", "measured", "horizon")}
    second.load_state_dict(older)
    assert second.estimate().updates == 10
    one_step(second, 11)
    assert second.estimate().observations == 0, "an older state is in units of no size"


def test_misuse_fails_with_one_line() -> None:
    model = make_model()
    monitor = NoiseScaleMonitor(model, groups=2)
    loss = loss_of(model, make_batch(4))
    with pytest.raises(ValueError, match="at least 2 groups"):
        NoiseScaleMonitor(model, groups=1)
    with pytest.raises(RuntimeError, match="belongs inside"):
        monitor.backward(loss)
    with pytest.raises(ValueError, match="multiple of the 2 groups, got 3"), monitor.step(parts=3):
        pass
    with pytest.raises(ValueError, match="observations must be positive"), monitor.step(observations=0):
        pass
    with pytest.raises(ValueError, match="given once"), monitor.step(observations=4):
        monitor.backward(loss, observations=2)
    with pytest.raises(RuntimeError, match="inside another step"), monitor.step(), monitor.step():
        pass
    with monitor.step():
        for _ in range(2):
            monitor.backward(loss_of(model, make_batch(4)))
        with pytest.raises(RuntimeError, match="all its 2 parts"):
            monitor.backward(loss_of(model, make_batch(4)))
    embedding = torch.nn.Embedding(5, 3, sparse=True)
    sparse = NoiseScaleMonitor(embedding, groups=2)
    with pytest.raises(ValueError, match="sparse"), sparse.step():
        sparse.backward(embedding(torch.tensor([1])).sum())


def test_importing_the_measurement_imports_no_ray() -> None:
    code = "import sys, rlgns.noise; print([m for m in ('ray', 'wandb', 'ale_py', 'plotly') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
