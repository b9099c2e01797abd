"""What is read from metrics.jsonl has the kinds that the registry declares, or is refused with key and value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlgns.errors import UserError
from rlgns.metrics.registry import KEYS
from rlgns.metrics.row_check import checked_row
from rlgns.storage.run_folder import RunFolder
from tests.rows import make_null_row, make_probed_row, make_row


@pytest.mark.parametrize("row", [make_row(1), make_row(100), make_probed_row(50), make_null_row()])
def test_what_a_run_logs_is_left_as_it_is(row: dict[str, Any]) -> None:
    assert checked_row(row) == row


@pytest.mark.parametrize("name", KEYS)
def test_every_key_refuses_other_kinds(name: str) -> None:
    wrong: list[Any] = [{"a": 1}]
    wrong += {str: [1, True, []], bool: [1, "x", []], list: ["x", 1]}.get(
        KEYS[name].kind, ["x", True, [], 1e31, 10**400]
    )
    for value in wrong:
        with pytest.raises(ValueError, match=f"^{name}: "):
            checked_row({name: value})


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"batch_observations": 0}, "batch_observations: 0 is not positive"),
        ({"seconds": -1.0}, "seconds: -1.0 is negative"),
        ({"noise/scale": 1e40}, "noise/scale: 1e[+]40 is larger than 1e[+]30"),
        ({"noise/ladder": [1]}, "noise/ladder: 1 is not an entry with batch_observations, grad_sq_norm"),
        ({"noise/ladder": [{"batch_observations": 0, "grad_sq_norm": 1.0}]}, "batch_observations: 0 is too small"),
        ({"noise/by_step": [{"step": -1, "grad_sq": 1.0, "trace": 1.0}]}, "step: -1 is too small"),
        ({"noise/layers": [{"layer": "", "grad_sq": 1, "trace": 1}]}, "layer: '' is not a name"),
        ({"noise/time_ladder": [{"steps": 2}]}, "is not an entry with steps, trace"),
    ],
)
def test_values_out_of_range_are_refused(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        checked_row(row)


def test_nan_and_infinity_are_null_and_nested_values_of_unknown_keys_are_left_out() -> None:
    row = {"noise/scale": float("nan"), "other": float("inf"), "nested": {"a": 1}, "text": "x", "more": 3}
    assert checked_row(row) == {"noise/scale": None, "other": None, "text": "x", "more": 3}


def test_a_run_names_file_and_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.append({"iteration": 1})
    folder.append({"iteration": 2, "seconds": "long"})
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2: seconds: 'long' is not a number"):
        folder.rows()


def test_numbers_too_small_to_square_count_as_zero() -> None:
    assert checked_row({"approx_kl": -1e-40, "noise/grad_sq": 1e-29}) == {"approx_kl": 0, "noise/grad_sq": 1e-29}


def test_the_first_step_is_numbered_zero() -> None:
    row = {"noise/by_step": [{"step": 0, "grad_sq": -1.0, "trace": None}]}
    assert checked_row(row) == row
