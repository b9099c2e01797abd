"""NoiseScaleMonitor where numbers are short, scaled, zero or not finite."""

from __future__ import annotations

import math

import pytest
import torch

from rlgns.noise import NoiseScaleMonitor
from tests.rlgns.noise.classifier import gradients_of, loss_of, make_batch, make_model, parts_of


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
    assert scaler.get_scale() == 2.0**9, "the scaler saw the overflow"


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
    assert (monitor.estimate().updates, monitor.estimate().skipped) == (0, 0), "zero is no size to divide by"


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
