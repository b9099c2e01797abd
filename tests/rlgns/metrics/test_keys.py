"""The list of keys, the rows that it checks, and the page that explains them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rlgns.metrics.registry import KEYS, VIEWS, WANDB_KEYS, check_row
from tests.rows import make_null_row, make_row

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def page_rows() -> list[list[str]]:
    """The cells of every table row of the page that starts with a key; those of a view once for each view."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    first, *others = (line for line in lines if "`noise/<view>/" in line)
    place = lines.index(first)
    of_views = [line.replace("<view>", view) for view in VIEWS for line in (first, *others)]
    lines = [*lines[:place], *of_views, *(line for line in lines[place:] if line not in (first, *others))]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_page_has_every_view_once_in_order() -> None:
    names = re.findall(r"^\| (\w+) \|", PAGE.read_text().partition("| view |")[2], flags=re.MULTILINE)
    assert [name for name in names if name != "key"] == list(VIEWS)


def test_the_page_has_every_key_once_in_order() -> None:
    assert [row[0].strip("`") for row in page_rows()] == [key.name for key in (*KEYS, *WANDB_KEYS)]


def test_the_page_tells_units_and_nulls_as_the_list_does() -> None:
    keys = {key.name: key for key in (*KEYS, *WANDB_KEYS)}
    for name, meaning, unit, _, null in page_rows():
        key = keys[name.strip("`")]
        assert meaning, name
        assert unit == key.unit, name
        assert null.startswith("never") == (not key.nullable), name


def test_rows_pass() -> None:
    check_row(make_row(1))
    check_row(make_row(150))
    check_row(make_null_row())
    check_row(
        make_row(9)
        | {"noise/policy/scale": 3, "noise/layers": [{"layer": "a", "grad_sq": 1, "trace": 1, "scale": None}]}
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "unknown keys"),
        ({"iteration": 1.5}, "iteration = 1.5"),
        ({"noise/resolved": None}, "noise/resolved = None"),
        ({"seconds": True}, "seconds = True"),
        ({"noise/ladder": [{"batch": 3}]}, "noise/ladder needs entries"),
        ({"noise/time_ladder": [{"steps": 3}]}, "noise/time_ladder needs entries"),
        ({"noise/probes": None}, "noise/probes = None"),
    ],
)
def test_bad_rows_do_not(change: dict, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_row(make_row(1) | change)
    row = make_row(1)
    del row["game"]
    with pytest.raises(AssertionError, match="missing keys"):
        check_row(row)
