"""Errors as one line of text, and suggestions."""

from __future__ import annotations

import pytest

from rlgns.errors import last_line, nearest, one_line


@pytest.mark.parametrize(
    ("error", "whole", "last"),
    [
        (ValueError("a\n  b\n"), "a b", "b"),
        (RuntimeError(""), "RuntimeError", "RuntimeError"),
        ("Traceback:\n  File x\nKeyError: 'y'\n\n", "Traceback: File x KeyError: 'y'", "KeyError: 'y'"),
    ],
)
def test_an_error_becomes_one_line(error: object, whole: str, last: str) -> None:
    assert one_line(error) == whole
    assert last_line(error) == last


def test_only_a_near_name_is_suggested() -> None:
    assert nearest("trian", ["train", "sweep"]) == " (did you mean train?)"
    assert nearest("zzz", ["train", "sweep"]) == ""
