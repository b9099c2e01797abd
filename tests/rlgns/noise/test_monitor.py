"""NoiseScaleMonitor against one autograd call per observation, and everything a training loop may do to it."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from rlgns.noise import NoiseScaleMonitor, NoiseScaleTracker, group_moments
from tests.reference.noise import observation_gradients, slow_moments

Batch = tuple[torch.Tensor, torch.Tensor]


def make_model(dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).to(dtype)


def make_batch(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, 6, generator=generator).to(dtype),
        torch.randint(0, 3, (count,), generator=generator),
    )


def loss_of(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])


def parts_of(batch: Batch, parts: int) -> list[Batch]:
    return list(zip(batch[0].chunk(parts), batch[1].chunk(parts), strict=True))


def gradients_of(model: torch.nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


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
        assert monitor.estimate().updates == (10 if monitored else 0)
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
    assert monitor.estimate().updates == 1
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


def test_a_grad_scaler_leaves_scaled_gradients_and_unscaled_moments() -> None:
    model, batch = make_model(torch.float32), make_batch(32, dtype=torch.float32)
    plain, scaled = NoiseScaleMonitor(model, groups=4), NoiseScaleMonitor(model, groups=4)
    with plain.step(observations=32):
        for part in parts_of(batch, 4):
            plain.backward(loss_of(model, part))
    left = gradients_of(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with scaled.step(observations=32):
        for part in parts_of(batch, 4):
            scaled.backward(loss_of(model, part), scaler=scaler)
    for mine, other in zip(left, gradients_of(model), strict=True):
        torch.testing.assert_close(1024 * mine, other)
    assert plain.moments is not None
    assert scaled.moments is not None
    assert scaled.moments.grad_sq == pytest.approx(plain.moments.grad_sq, rel=1e-5)
    assert scaled.moments.trace == pytest.approx(plain.moments.trace, rel=1e-5)
    before = [p.detach().clone() for p in model.parameters()]
    scaler.step(torch.optim.SGD(model.parameters(), lr=0.1))
    for old, new, gradient in zip(before, model.parameters(), left, strict=True):
        torch.testing.assert_close(new.detach(), old - 0.1 * gradient)


def test_overflow_is_skipped_and_seen_by_the_scaler() -> None:
    model, batch = make_model(torch.float32), make_batch(32, dtype=torch.float32)
    monitor = NoiseScaleMonitor(model, groups=4)
    scaler = torch.amp.GradScaler("cpu", init_scale=1e38)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = [p.detach().clone() for p in model.parameters()]
    with monitor.step(observations=32):
        for part in parts_of(batch, 4):
            monitor.backward(100 * loss_of(model, part), scaler=scaler)
    scaler.step(optimizer)
    scaler.update()
    for old, new in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old)
    assert scaler.get_scale() < 1e38
    estimate = monitor.estimate()
    assert (estimate.updates, estimate.skipped) == (0, 1)


def test_half_precision_parameters_do_not_overflow_in_the_sum() -> None:
    model = torch.nn.Linear(4, 1, bias=False).to(torch.float16)
    monitor = NoiseScaleMonitor(model, groups=4)
    with monitor.step(observations=40_000):
        for _ in range(4):
            monitor.backward(model(torch.full((2, 4), 100.0, dtype=torch.float16)).mean())
    assert monitor.moments is not None
    assert monitor.moments.grad_sq == pytest.approx(40_000.0)
    assert monitor.moments.trace == pytest.approx(0.0, abs=1e-3)
    assert model.weight.grad is not None
    assert model.weight.grad.dtype == torch.float16
    assert torch.all(model.weight.grad == 100)


def test_float16_autocast_without_overflow_is_measured_and_with_it_is_skipped() -> None:
    model, batch = make_model(torch.float32), make_batch(32, dtype=torch.float32)
    monitor, plain = NoiseScaleMonitor(model, groups=4), NoiseScaleMonitor(model, groups=4)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for factor, skipped in ((1.0, 0), (1e4, 1)):  # 65,504 is the largest number of float16
        for which in (monitor, plain):
            with which.step(observations=32):
                for part in parts_of(batch, 4):
                    with torch.autocast("cpu", dtype=torch.float16, enabled=which is monitor):
                        loss = factor * torch.nn.functional.cross_entropy(model(part[0]), part[1])
                    which.backward(loss, scaler=scaler if which is monitor else None)
            if which is monitor:
                scaler.unscale_(optimizer := torch.optim.SGD(model.parameters(), lr=0.0))
                scaler.step(optimizer)
                scaler.update()
        assert monitor.estimate().skipped == skipped
        assert plain.estimate().skipped == 0
        if not skipped:
            assert monitor.moments is not None and plain.moments is not None
            assert monitor.moments.grad_sq == pytest.approx(plain.moments.grad_sq, rel=0.02)
            assert monitor.moments.trace == pytest.approx(plain.moments.trace, rel=0.02)
    assert scaler.get_scale() == 2.0**9, "the scaler was told"


def test_zero_gradients_are_measured_as_zero() -> None:
    model = make_model()
    monitor = NoiseScaleMonitor(model, groups=2)
    with monitor.step(observations=8):
        for part in parts_of(make_batch(8), 2):
            monitor.backward(0 * loss_of(model, part))
    assert monitor.moments is not None
    assert (monitor.moments.grad_sq, monitor.moments.trace) == (0.0, 0.0)
    assert all(torch.all(gradient == 0) for gradient in gradients_of(model))
    assert math.isnan(monitor.estimate().noise_scale)
    assert (monitor.estimate().updates, monitor.estimate().skipped) == (1, 0)


def test_a_nan_loss_is_skipped() -> None:
    model = make_model()
    monitor = NoiseScaleMonitor(model, groups=2)
    with monitor.step(observations=8):
        for part in parts_of(make_batch(8), 2):
            monitor.backward(loss_of(model, part) * math.nan)
    assert monitor.estimate().skipped == 1
    assert monitor.moments is not None
    assert not monitor.moments.is_finite
    assert all(gradient.isnan().all() for gradient in gradients_of(model)), "as one backward pass would have left it"


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
    tracker = NoiseScaleTracker(horizon_observations=500)
    tracker.load_state_dict(first.state_dict())
    assert tracker.estimate() == first.estimate()


def test_misuse_is_told_in_one_line() -> None:
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
