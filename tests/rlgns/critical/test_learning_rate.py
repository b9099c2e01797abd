"""The warning that a learning rate looks far from tuned."""

import math
from typing import Any

import pytest

from rlgns.critical import learning_rate_warning


def rows(count: int = 40, **values: float | None) -> list[dict[str, Any]]:
    return [{"learning_rate": 5e-4, "clip_fraction": 0.05, "approx_kl": 0.002, **values} for _ in range(count)]


@pytest.mark.parametrize(
    ("values", "epochs", "expected"),
    [
        ({}, 4, None),
        ({"clip_fraction": 0.29}, 4, None),
        ({"clip_fraction": 0.31}, 4, "the learning rate looks too high: 31 % of the observations are clipped"),
        ({"clip_fraction": 0.16}, 4, None),
        ({"clip_fraction": 0.16}, 1, "the learning rate looks too high: 16 % of the observations are clipped"),
        ({"approx_kl": 0.06}, 4, "the learning rate looks too high: the policy moves by 0.060 nats"),
        ({"clip_fraction": 0.003}, 4, None),
        ({"clip_fraction": 0.001}, 4, "the learning rate looks too low: 0.1 % of the observations are clipped"),
        ({"clip_fraction": 0.0}, 1, None),
        ({"clip_fraction": 0.0}, 4, "the learning rate looks too low: 0 % of the observations are clipped"),
        ({"clip_fraction": None, "approx_kl": None}, 4, None),
        ({"clip_fraction": math.nan, "approx_kl": 0.06}, 4, "the policy moves by"),
    ],
)
def test_rules(values: dict[str, float | None], epochs: int, expected: str | None) -> None:
    said = learning_rate_warning(rows(**values), algorithm="ppo", epochs=epochs)
    if expected is None:
        assert said is None
    else:
        assert said is not None and expected in said and "\n" not in said and not said.endswith(".")


def test_annealing_to_zero_is_no_sign() -> None:
    annealed = [
        {**row, "learning_rate": 5e-4 * (1 - i / 100), "clip_fraction": 0.05 if i < 50 else 0.0}
        for i, row in enumerate(rows(100))
    ]
    assert learning_rate_warning(annealed, algorithm="ppo", epochs=4) is None


def test_the_first_rows_do_not_count_and_a_few_say_nothing() -> None:
    assert learning_rate_warning(rows(5, clip_fraction=0.9), algorithm="ppo", epochs=4) is None
    assert learning_rate_warning(rows(10, clip_fraction=0.9) + rows(90), algorithm="ppo", epochs=4) is None
    assert learning_rate_warning([], algorithm="ppo", epochs=4) is None


def test_a2c_has_no_ratio_to_clip() -> None:
    assert learning_rate_warning(rows(clip_fraction=0.0), algorithm="a2c", epochs=1) is None


def test_rows_without_a_learning_rate_count() -> None:
    bare = [{"clip_fraction": 0.5} for _ in range(20)]
    assert learning_rate_warning(bare, algorithm="ppo", epochs=4) is not None
