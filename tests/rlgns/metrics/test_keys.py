"""The declared keys, the page that is made from them, and rows that fit or do not fit them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlgns.metric_key import Key
from rlgns.metrics.page import page
from rlgns.metrics.probe_keys import VIEWS
from rlgns.metrics.registry import GROUPS, KEYS, WANDB_KEYS
from tests.row_check import check_row
from tests.rows import make_null_row, make_probed_row, make_row

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m rlgns.metrics.page > docs/metrics.md"


def test_the_page_has_every_key_once() -> None:
    text = page()
    for name in WANDB_KEYS:
        view = next((view for view in VIEWS if name.startswith(f"noise/{view}/")), "")
        entry = f"- **`{name.replace(f'/{view}/', '/<view>/') if view else name}`** ("
        assert text.count(entry) == 1, name
        assert not view or text.count(f"- **{view}**: ") == 1, view


def test_no_name_is_declared_twice() -> None:
    assert sum(len(group.keys) for group in GROUPS) == len(KEYS)


@pytest.mark.parametrize("key", WANDB_KEYS.values(), ids=lambda key: key.name)
def test_a_declaration_reads_as_a_sentence(key: Key) -> None:
    assert key.unit and len(key.meaning.split()) >= 2
    assert (key.kind is list) == bool(key.entry_fields)
    for text in (key.meaning, key.formula, key.source, key.null_when, key.absent_from):
        assert text == text.strip() and not text.endswith(".") and "\n" not in text


def test_no_line_of_the_page_is_long_or_begins_with_an_operator() -> None:
    for line in page().splitlines():
        assert len(line) <= 120, line
        assert not line.lstrip().startswith(("+ ", "= ", "> ")) and not line.startswith("  - "), line


def test_rows_pass() -> None:
    check_row(make_row(1))
    check_row(make_row(150))
    check_row(make_null_row())
    check_row(make_probed_row(150))


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


def test_a_missing_key_is_named() -> None:
    row = make_row(1)
    del row["game"]
    with pytest.raises(AssertionError, match=r"missing keys .*game"):
        check_row(row)
