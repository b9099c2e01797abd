"""The tasks' data, models, settings and trials."""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from examples.tasks import image_data, text
from examples.tasks.__main__ import main
from examples.tasks.images import MODELS, image_problem
from examples.tasks.problem import make_problem
from examples.tasks.settings import TASKS, find_task, groups_of
from examples.tasks.trial import Row, goals_reached, progress, train
from rlgns.errors import UserError

DIGITS = dataclasses.replace(find_task("digits-sgd"), goals=(1.5, 1.0))


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trial(**changes: Any) -> list[Row]:
    """A trial that ends at its last goal, or after 100 steps."""
    settings = dataclasses.replace(DIGITS, **changes)
    return train(
        make_problem(settings),
        settings,
        batch=32,
        learning_rate=0.5,
        seed=0,
        over=lambda own: len(own.reached) == len(settings.goals) or own.observations >= 32 * 100,
    )


def without_seconds(rows: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_the_same_trial_gives_the_same_rows_and_has_moments() -> None:
    rows = trial()
    assert without_seconds(rows) == without_seconds(trial())
    assert [row["step"] for row in rows[:3]] == [0, 1, 2]
    assert all(row["trace"] > 0 for row in rows[1:])


@pytest.mark.parametrize("changes", [{"optimizer": "adam"}, {"momentum": 0.5}, {"model": "softmax"}, {"width": 16}])
def test_settings_change_the_trial(changes: dict[str, Any]) -> None:
    assert trial(**changes)[5]["loss"] != trial()[5]["loss"]


def test_plan_and_points_agree_on_when_a_goal_is_reached() -> None:
    rows = trial()
    stood, found = progress(rows, DIGITS, 32), goals_reached(rows, DIGITS, 32)
    assert [entry.goal for entry in found] == [-1.5, -1.0]
    for entry in found:
        assert 0 <= stood.reached[entry.goal] - entry.observations < 1 + 1e-6
        assert entry.observations == pytest.approx(32 * entry.optimizer_steps)
    assert found[1].noise_scale is not None
    (goal,) = goals_reached(rows[:-1], DIGITS, 32)
    assert goal == found[0], "what comes after a goal does not change it"


def test_the_smoothed_loss_follows_the_loss() -> None:
    rows = trial()
    smoothed = rows[0]["loss"]
    for row in rows[1:]:
        smoothed = (smoothed + row["loss"]) / 2
        assert row["smoothed"] == pytest.approx(smoothed)


def test_a_trial_that_diverges_ends_and_stands_at_its_budget() -> None:
    settings = dataclasses.replace(DIGITS, model="softmax")
    rows = train(make_problem(settings), settings, batch=4, learning_rate=1e6, seed=0, over=lambda own: False)
    assert rows[-1]["smoothed"] is None
    assert progress(rows, settings, 4).observations == settings.budget
    assert goals_reached(rows, settings, 4) == []


def test_a_goal_that_a_new_model_has_reached_is_refused() -> None:
    with pytest.raises(UserError, match=r"--goals must be below the loss of the new model, 2\.\d+; got 5"):
        trial(goals=(5.0, 1.0))


@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns(model: str) -> None:
    settings = dataclasses.replace(DIGITS, model=model, width=8, optimizer="adam", goals=(1e-9,))
    data = image_data.load_images("digits", None)
    rows = train(
        image_problem(data, settings), settings, batch=32, learning_rate=0.003, seed=0,
        over=lambda own: own.observations >= 32 * 60,
    )  # fmt: skip
    assert rows[-1]["loss"] < 0.95 * rows[0]["loss"]


@pytest.mark.parametrize("shape", [(6, 16), (6, 4, 4), (6, 1, 4, 4), (6, 5, 5, 3)])
def test_images_of_every_layout_are_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    pixels.flat[0] = 255
    np.savez(tmp_path / "some.npz", x=pixels, y=np.arange(6) % 3)
    data = image_data.load_images("mnist", tmp_path / "some.npz")
    images, labels = data.fetch(torch.tensor([4, 1]))
    assert (data.count, data.classes, labels.tolist()) == (6, 3, [1, 1])
    expected = pixels[4].transpose(2, 0, 1) if shape[-1] == 3 else pixels[4].reshape(1, 4, 4)
    assert images[0].shape == expected.shape
    assert np.allclose(images[0].numpy() * 255, expected)


def write_text(path: Path) -> str:
    lines = [" ".join(f"{letter}{place}" for place in range(length)) for letter, length in (("a", 40), ("b", 21))]
    path.write_bytes(gzip.compress("\n".join([*lines, "too short"]).encode()))
    return str(path)


def test_windows_of_one_draw_lie_in_one_document(tmp_path: Path) -> None:
    problem = text.text_problem("words", write_text(tmp_path / "text.gz"), width=4)
    places = problem.draw(2000, torch.Generator().manual_seed(0))
    assert places.shape == (2000, text.WINDOWS) and problem.per_draw == text.WINDOWS * text.WINDOW
    in_first = places < 40
    assert (in_first.all(dim=1) | ~in_first.any(dim=1)).all()
    assert int(places[in_first].max()) == 40 - text.WINDOW - 1, "the last target is the document's last word"
    assert int(places.max()) == 61 - text.WINDOW - 1
    assert float(in_first.float().mean()) == pytest.approx(40 / 61, abs=0.04), "in proportion to the lengths"


def test_the_loss_of_text_is_the_mean_over_its_draws(tmp_path: Path) -> None:
    problem = text.text_problem("characters", write_text(tmp_path / "text.gz"), width=4)
    model, generator = problem.model(), torch.Generator().manual_seed(0)
    draws = problem.draw(3, generator)
    alone = [problem.loss(model, part, generator) for part in draws.split(1)]
    torch.testing.assert_close(problem.loss(model, draws, generator), torch.stack(alone).mean())


def test_the_tasks_have_whole_groups_and_goals_from_easy_to_hard() -> None:
    for task in TASKS.values():
        per_draw = text.WINDOWS * text.WINDOW if task.model == "lstm" else 1
        assert {groups_of(batch, per_draw) for batch in task.batches} == {4}
        assert list(task.goals) == sorted(task.goals, reverse=True)
    assert groups_of(6, 1) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digit-sgd"], "no task 'digit-sgd' (did you mean digits-sgd?); there are: "),
        (["digits-sgd", "--batches", "3"], "--batches must be positive multiples of 2 observations for this task"),
        (["words-lstm-32"], "a text task needs a text file, one document a line: --data FILE"),
        (["words-lstm-32", "--data", "/none"], "--data /none: cannot be read as text"),
        (["mnist-conv", "--data", "/none.npz"], "--data /none.npz: cannot be read as .npz"),
        (["digits-adam", "--momentum", "0.9"], "--momentum is SGD's, and this task's optimizer is adam"),
        (["digits-sgd", "--width", "0"], "--width must be positive, got 0"),
        (["digits-sgd", "--goals", "-1"], "--goals must be positive losses, got -1.0"),
        (["digits-sgd", "--workers", "0"], "--workers must be at least 1, got 0"),
        *((["digits-sgd", f"--name={name}"], "--name must begin with a letter or digit")
          for name in ("=1+2", "+1", "-1", "@x", "../x", "a/b", "a\n=1", "", "\t=1")),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"tasks: {message}") and printed.count("\n") == 1


def test_other_arrays_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "other.npz", pictures=np.zeros(3))
    assert main(["mnist-conv", "--data", str(tmp_path / "other.npz")]) == 2
    assert "holds pictures; needed: images as x or x_train or images" in capsys.readouterr().err


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
@pytest.mark.parametrize("task", ["fashion-conv", "svhn-vae", "cifar10-conv", "imagenet-conv"])
def test_without_torchvision_one_line_says_so(capsys: pytest.CaptureFixture[str], task: str) -> None:
    assert main([task]) == 2
    assert "needs torchvision, which is not installed: pip install torchvision" in capsys.readouterr().err
