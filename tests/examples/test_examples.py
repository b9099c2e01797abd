"""The examples with smaller settings: they train, print the noise scale, and compare it with a sweep."""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from rlgns.noise import NoiseScaleTracker

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("shared", "digits", "characters")


@pytest.fixture(scope="module")
def examples() -> Iterator[dict[str, ModuleType]]:
    """The scripts, imported as `python examples/NAME.py` finds them."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield {name: importlib.import_module(name) for name in NAMES}
        for name in NAMES:
            patch.delitem(sys.modules, name)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("name", "arguments", "unit"),
    [
        ("digits", ["--target", "0.8", "--sweep", "4", "16", "64"], "images"),
        ("characters", ["--target", "2.8", "--sweep", "2", "4", "8"], "characters"),
    ],
)
def test_an_example_predicts_and_compares(
    examples: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], name: str, arguments: list[str], unit: str
) -> None:
    examples[name].main(arguments)
    printed = capsys.readouterr().out
    scale = rf"[\d,]+ \([\d,]+ to [\d,]+\) {unit}" if name == "digits" else "unknown yet"  # after 27 noisy steps
    assert re.search(rf"step +\d+   loss [\d.]+   noise scale {scale}", printed)
    assert re.search(rf"averaged over the run: [\d,]+ {unit}", printed)
    found = re.search(rf"sweep: ([\d,]+) {unit}; the noise scale predicted ([\d,]+)", printed)
    assert found is not None, printed
    measured, predicted = (float(number.replace(",", "")) for number in found.groups())
    assert 1 / 10 < predicted / measured < 10, "the order of magnitude"


def test_a_window_stays_whole_in_one_part(examples: dict[str, ModuleType]) -> None:
    problem = examples["characters"].characters()
    starts = problem.draw(3, torch.Generator().manual_seed(0))
    model = problem.model()
    one_by_one = [problem.loss(model, start[None]) for start in starts]
    torch.testing.assert_close(problem.loss(model, starts), torch.stack(one_by_one).mean())
    logits = model(torch.zeros(2, examples["characters"].CONTEXT + problem.per_draw - 1, dtype=torch.long))
    assert logits.shape[2] == problem.per_draw, "an observation is a character that is predicted"


def test_the_critical_batch_of_exact_points_is_recovered(examples: dict[str, ModuleType]) -> None:
    points = [(batch, 0.1, round(1000 * (1 + 300 / batch))) for batch in (30, 100, 300, 1000)]
    assert examples["shared"].critical_batch(points) == pytest.approx(300, rel=0.01)
    assert math.isnan(examples["shared"].critical_batch(points[:2]))


def test_the_sweep_takes_the_best_learning_rate_and_leaves_out_failures(examples: dict[str, ModuleType]) -> None:
    problem = examples["digits"].digits()
    (point,) = examples["shared"].sweep(problem, [32], [1e-9, 0.25, 1.0], target=1.5, most_steps=60)
    alone = examples["shared"].steps_to_target(problem, 32, 1.0, 1.5, 60)
    assert point == (32, 1.0, alone)
    assert examples["shared"].sweep(problem, [32], [1e-9], target=1.5, most_steps=20) == []


def test_the_live_line_says_what_is_known(examples: dict[str, ModuleType]) -> None:
    unknown = NoiseScaleTracker().estimate()
    resolved = dataclasses.replace(unknown, noise_scale=1234.5, now_low=1000.0, now_high=2000.0)
    bound = dataclasses.replace(unknown, now_low=55.0)
    line = examples["shared"].live_line
    nothing = dataclasses.replace(unknown, now_low=0.0)
    assert line(3, 0.5, nothing, "images") == line(3, 0.5, unknown, "images")
    assert line(3, 0.5, unknown, "images") == "step    3   loss 0.500   noise scale unknown yet"
    assert line(3, 0.5, resolved, "images").endswith("noise scale 1,234 (1,000 to 2,000) images")
    assert line(3, 0.5, bound, "images").endswith("noise scale at least 55 images")


def test_a_batch_that_cannot_be_split_is_refused(
    examples: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        examples["digits"].main(["--draws", "12"])
    assert stopped.value.code == 2
    assert "--draws must be a multiple of 8, got 12" in capsys.readouterr().err
