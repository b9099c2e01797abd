"""The temperature benchmark: exact noise scales and the fit of exponents."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import temperature, temperature_annealed
from benchmarks.temperature_digits import exact_moments, network
from rlgns.noise import group_moments
from tests.reference.noise import observation_gradients


def test_exact_moments_match_one_gradient_per_image() -> None:
    model = network(0).double()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(12, 64, dtype=torch.float64, generator=generator)
    labels = torch.randint(10, (12,), generator=generator)

    def loss(i: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(inputs[i : i + 1]), labels[i : i + 1])

    rows = observation_gradients(model, loss, 12)
    grad_sq, trace = exact_moments(model, inputs, labels)
    assert grad_sq == pytest.approx(float(rows.mean(0) @ rows.mean(0)), rel=1e-9)
    assert trace == pytest.approx(rows.var(0).sum(), rel=1e-9)
    # group_moments treats these images as a sample of an infinite population.
    sample = group_moments(rows, 1)
    assert grad_sq == pytest.approx(sample.grad_sq + sample.trace / 12, rel=1e-9)


def test_exponents_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "digits.csv"
    lines = ["optimizer,learning_rate,learning_rate_factor,batch_images,seed,loss,steps,noise_scale"]
    for rate, batch, seed in itertools.product((0.1, 0.4), (8, 32, 128), range(3)):
        noise_scale = 3 * batch**0.7 / rate * np.exp(0.001 * rng.standard_normal())
        lines.append(f"sgd,{rate},{rate / 0.1},{batch},{seed},0.3,100,{noise_scale}")
    path.write_text("\n".join(lines) + "\n")
    assert temperature.main(["digits", "--csv", str(path), "--table"]) == 0
    printed = capsys.readouterr().out
    assert "-1.00 +- 0.0" in printed
    assert "0.70 +- 0.0" in printed
    assert printed.count("\n| sgd | 0.3 | ") == 2


def test_rows_in_the_file_are_not_measured_again() -> None:
    done = [{"optimizer": "sgd", "learning_rate_factor": "1", "batch_images": "8"}]
    assert temperature._has(done, {"optimizer": "sgd", "learning_rate_factor": 1.0, "batch_images": 8})
    assert not temperature._has(done, {"optimizer": "adam", "learning_rate_factor": 1.0, "batch_images": 8})


def test_averages_of_an_annealed_run_weigh_leave_out_and_correct() -> None:
    run = [temperature_annealed.Measured(rate=rate, grad_sq=1.0, trace=30 / rate) for rate in (1.0, 0.75, 0.5, 0.25)]
    assert temperature_annealed.average(run, 10, exponent=-1) == pytest.approx(30)
    half = [(30 / rate, 1 / (1 + 3 / rate)) for rate in (1.0, 0.75, 0.5)]
    expected = sum(scale * weight for scale, weight in half) / sum(weight for _, weight in half)
    assert temperature_annealed.average(run, 10, least=0.5) == pytest.approx(expected)
