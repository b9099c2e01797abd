"""What is measured along best runs that are trained again: against slow twins, and the command that writes it."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from examples.tasks.__main__ import main
from examples.tasks.hessian_along import GROUPS, HessianProducts, average_along, checkpoints
from examples.tasks.preconditioned import PreconditionedMoments, copy_of, inverse_root_preconditioner
from examples.tasks.problem import Problem, make_problem
from examples.tasks.settings import find_task
from examples.tasks.trial import Row, StepToCome, Watch, make_optimizer, train

SETTINGS = dataclasses.replace(find_task("digits-adam"), goals=(1.5, 1.0), width=8)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trial(watch: Watch | None = None, steps: int = 30, **changes: Any) -> list[Row]:
    settings = dataclasses.replace(SETTINGS, **changes)
    rows = train(
        make_problem(settings), settings, batch=32, learning_rate=0.01, seed=0,
        over=lambda own: own.observations >= 32 * steps, watch=watch,
    )  # fmt: skip
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_looking_on_changes_nothing_even_where_the_loss_is_random() -> None:
    settings = dataclasses.replace(SETTINGS, model="vae", goals=(1e-9,))
    preconditioned = PreconditionedMoments(make_problem(settings))
    products = HessianProducts(make_problem(settings), [3], seed=0)

    def watch(coming: StepToCome) -> None:
        preconditioned.look(coming)
        products.look(coming)

    assert trial(watch, steps=5, model="vae", goals=(1e-9,)) == trial(steps=5, model="vae", goals=(1e-9,))
    assert set(products.by_step) == {3} and set(preconditioned.by_step) == {2, 3, 4, 5}


def test_preconditioned_moments_are_those_of_gradients_divided_by_hand() -> None:
    problem = make_problem(SETTINGS)
    moments = PreconditionedMoments(problem)
    expected: dict[int, tuple[float, float]] = {}
    second: list[Tensor] = []

    def slow(coming: StepToCome) -> None:
        """Adam's second moment is kept by hand, from the whole batch's gradients."""
        parameters, generator = list(coming.model.parameters()), copy_of(coming.generator)
        rows = []
        for part in coming.groups:
            coming.model.zero_grad()
            problem.loss(coming.model, part, generator).backward()
            rows.append([parameter.grad.clone() for parameter in parameters if parameter.grad is not None])
        if second:
            unbiased = [v / (1 - 0.999 ** (coming.step - 1)) for v in second]
            scaled = [[g / (v.sqrt() + 1e-8).sqrt() for g, v in zip(row, unbiased, strict=True)] for row in rows]
            flat = np.array([np.concatenate([g.numpy().ravel() for g in row]) for row in scaled], dtype=np.float64)
            mean_sq, each = float((flat.mean(0) ** 2).sum()), float((flat**2).sum(1).mean())
            count, size = len(flat), len(coming.groups[0])
            grad_sq = (count * mean_sq - each) / (count - 1)
            expected[coming.step] = grad_sq, size * (each - grad_sq)
        whole = [torch.stack([row[place] for row in rows]).mean(0) for place in range(len(parameters))]
        before = second or [torch.zeros_like(gradient) for gradient in whole]
        second[:] = [0.999 * v + 0.001 * gradient**2 for v, gradient in zip(before, whole, strict=True)]
        moments.look(coming)

    rows = trial(slow, steps=10)
    assert sorted(moments.by_step) == sorted(expected) == list(range(2, 11))
    for step, (grad_sq, trace) in expected.items():
        assert moments.by_step[step].grad_sq == pytest.approx(grad_sq, rel=1e-3, abs=1e-4 * trace)
        assert moments.by_step[step].trace == pytest.approx(trace, rel=1e-3)
    replaced = moments.in_rows(rows)
    assert replaced[1]["trace"] is None and replaced[2]["trace"] == pytest.approx(expected[2][1], rel=1e-3)
    assert [row["loss"] for row in replaced] == [row["loss"] for row in rows]


def test_sgd_has_no_preconditioner() -> None:
    model = nn.Linear(2, 1)
    optimizer = make_optimizer(model, dataclasses.replace(SETTINGS, optimizer="sgd"), 0.1)
    assert inverse_root_preconditioner(optimizer) is None
    assert inverse_root_preconditioner(make_optimizer(model, SETTINGS, 0.1)) is None, "before its first step"


def curved() -> Problem:
    """A small curved loss in float64: the gradient and the Hessian depend on the draw."""
    points = torch.randn(50, 3, generator=Generator().manual_seed(1), dtype=torch.float64)

    def loss(model: nn.Module, places: Tensor, generator: Generator) -> Tensor:
        result: Tensor = (model(points[places]).tanh() - 0.3).square().mean()
        return result

    return Problem(
        unit="points",
        per_draw=1,
        model=lambda: nn.Linear(3, 2, dtype=torch.float64),
        draw=lambda count, generator: torch.randint(50, (count,), generator=generator),
        loss=loss,
        goal_loss=lambda model: 0.0,
    )


def test_hessian_products_are_those_of_finite_differences() -> None:
    problem = curved()
    torch.manual_seed(0)
    model = problem.model()
    optimizer = make_optimizer(model, SETTINGS, 0.1)
    products = HessianProducts(problem, [7], seed=4)
    products.look(
        StepToCome(
            step=7, measured=True, model=model, optimizer=optimizer, groups=(), generator=Generator().manual_seed(9)
        )
    )
    found, observations = products.by_step[7]

    generator = Generator().manual_seed(4 * 1_000_003 + 7)
    draws = [problem.draw(observations, generator) for _ in range(GROUPS)]
    others = problem.draw(2048, generator)
    flat = nn.utils.parameters_to_vector(model.parameters()).detach().clone()

    def gradient(at: Tensor, places: Tensor) -> Tensor:
        nn.utils.vector_to_parameters(at, model.parameters())
        model.zero_grad()
        problem.loss(model, places, generator).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    gradients = [gradient(flat, part) for part in draws]
    eps = 1e-4
    expected = [
        [
            float(left @ (gradient(flat + eps * g, others) - gradient(flat - eps * g, others))) / (2 * eps)
            for g in gradients
        ]
        for left in gradients
    ]
    assert observations == 512 and found == pytest.approx(np.array(expected), rel=1e-5)


def test_text_has_second_derivatives(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("\n".join("abcdefgh" * 6 for _ in range(4)))
    settings = dataclasses.replace(find_task("characters-lstm-32"), width=4, data=str(tmp_path / "text"))
    problem = make_problem(settings)
    products = HessianProducts(problem, [1], seed=0)
    model = problem.model()
    products.look(
        StepToCome(
            step=1, measured=True, model=model, optimizer=make_optimizer(model, settings, 0.1), groups=(),
            generator=Generator(),
        )
    )  # fmt: skip
    forms, observations = products.by_step[1]
    assert observations == 64 * 32 and np.isfinite(forms).all() and forms[0, 1] != 0


def test_checkpoints_are_even_in_the_logarithm_and_stand_for_all_steps() -> None:
    standing = checkpoints(6561.0)  # 3^8
    assert list(standing) == [round(3 ** (place + 0.5)) for place in range(8)]
    assert sum(standing.values()) == pytest.approx(6560)
    assert standing[round(3**7.5)] == pytest.approx(3**8 - 3**7)
    assert sum(checkpoints(3.0).values()) == pytest.approx(2.0), "near ones become one"


def forms_of(curvature: float, trace: float, observations: int, rng: np.random.Generator | None = None) -> Any:
    """Products of groups whose moments are these; with a generator, scattered."""
    noise = 0.0 if rng is None else 0.02 * curvature * rng.standard_normal((GROUPS, GROUPS))
    return curvature + trace / observations * np.eye(GROUPS) + noise, observations


def test_the_average_is_a_ratio_of_sums_over_checkpoints() -> None:
    rng, standing = np.random.default_rng(0), {1: 2.0, 5: 10.0, 40: 100.0}
    forms = {1: forms_of(2.0, 50.0, 512, rng), 5: forms_of(1.0, 100.0, 512, rng), 40: forms_of(0.1, 200.0, 512, rng)}
    found = average_along(forms, standing=standing, batch=16)
    above = below = 0.0
    for curvature, trace, steps in ((2.0, 50.0, 2.0), (1.0, 100.0, 10.0), (0.1, 200.0, 100.0)):
        share = 1 / (1 + trace / curvature / 16)
        above, below = above + steps * share * trace / curvature, below + steps * share
    assert found.value == pytest.approx(above / below, rel=0.05)
    assert found.low < found.value < found.high < math.inf and found.checkpoints == 3


def test_a_checkpoint_without_curvature_is_left_out_and_without_any_nothing_is_known() -> None:
    negative = forms_of(-3.0, 1.0, 512)
    good = forms_of(2.0, 50.0, 512)
    found = average_along({1: negative, 5: good}, standing={1: 2.0, 5: 10.0}, batch=16)
    assert found.checkpoints == 1 and found.value == pytest.approx(25.0)
    nothing = average_along({1: negative}, standing={1: 2.0}, batch=16)
    assert nothing.checkpoints == 0 and math.isnan(nothing.value) and nothing.high == math.inf


@pytest.fixture(scope="module", params=["digits-sgd", "digits-adam"])
def swept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("contest") / "sweep"
    assert main([request.param, "--sweep", str(folder), *OPTIONS]) == 0
    assert main([request.param, "--contest", str(folder), *OPTIONS]) == 0
    return request.param, folder


OPTIONS = [
    *("--batches", "16", "64", "--learning-rates", "2", "--widenings", "0", "--seeds", "0"),
    *("--goals", "1.0", "0.3", "--workers", "1"),
]


def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "contest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_writes_a_line_per_goal_batch_and_candidate(swept: tuple[str, Path]) -> None:
    task, folder = swept
    found = lines(folder)
    assert len(found) == 2 * 2 * 3
    by_candidate = {name: [line for line in found if line["candidate"] == name] for name in
                    ("path", "preconditioned", "hessian")}  # fmt: skip
    with (folder / "points.csv").open(newline="") as file:
        points = {(row["run"], row["goal_score"]): row["noise_scale"] for row in csv.DictReader(file)}
    for line in by_candidate["path"]:
        assert float(line["noise_scale"]) == pytest.approx(
            float(points[line["run"], f"{float(line['goal_score']):g}"]), rel=1e-4
        )
    same = [p["noise_scale"] == q["noise_scale"] for p, q in zip(*list(by_candidate.values())[:2], strict=True)]
    assert all(same) if task == "digits-sgd" else not any(same)
    assert all(float(line["noise_scale"]) > 0 for line in by_candidate["hessian"])


def test_only_what_is_missing_is_trained_again(swept: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    task, folder = swept
    before, (first, *_) = lines(folder), sorted((folder / "contest").iterdir())
    first.unlink()
    capsys.readouterr()
    assert main([task, "--contest", str(folder), *OPTIONS]) == 0
    assert capsys.readouterr().err.count("measured in") == 1
    assert lines(folder) == before


def test_a_run_that_gives_other_rows_is_a_fault(swept: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    task, folder = swept
    result = min((folder / "contest").iterdir())
    file = folder / "runs" / f"{result.stem}.jsonl.gz"
    whole, content = file.read_bytes(), result.read_bytes()
    rows = [json.loads(line) for line in gzip.decompress(whole).decode().splitlines()]
    rows[3]["loss"] += 1e-6
    result.unlink()
    file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    assert main([task, "--contest", str(folder), *OPTIONS]) == 3
    assert "trained again differs at step 3" in capsys.readouterr().err
    file.write_bytes(whole)
    result.write_bytes(content)


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["digits-sgd", "--contest", str(tmp_path / "none")]) == 2
    assert "no points.csv there; run the sweep first: --sweep" in capsys.readouterr().err
    assert main(["digits-sgd", "--contest", "a", "--sweep", "b"]) == 2
    assert "give one of --sweep, --contest and --adaptive" in capsys.readouterr().err
