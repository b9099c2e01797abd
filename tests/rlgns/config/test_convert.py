"""Values from YAML or the command line become the declared types."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest

from rlgns.config import load
from rlgns.config.convert import convert
from rlgns.config.schema import Config
from rlgns.errors import UserError


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("10_000", int, 10_000),
        ("3e6", int, 3_000_000),
        ("10M", int, 10_000_000),
        ("200k", int, 200_000),
        ("1.5m", int, 1_500_000),
        ("0k", int, 0),
        (2.0, int, 2),
        ("1e-5", float, 1e-5),
        (3, float, 3.0),
        ("off", bool, False),
        ("TRUE", bool, True),
        ("", str, ""),
        ("4, 5", tuple[int, ...], (4, 5)),
        (4, tuple[int, ...], (4,)),
        ("", tuple[str, ...], ()),
    ],
)
def test_conversions(text: Any, kind: Any, value: Any) -> None:
    converted = convert("a.b", text, kind)
    assert (converted, type(converted)) == (value, type(value))


@pytest.mark.parametrize("text", ["1.2345k", "M", "1.5 M M", "-1.5.0k", "10MB"])
def test_what_is_no_whole_number(text: str) -> None:
    with pytest.raises(UserError, match="is not a whole number"):
        convert("run.observations", text, int)


def test_every_declared_type_can_be_converted() -> None:
    for section, kind in load.section_types().items():
        for key, hint in get_type_hints(kind).items():
            default = getattr(getattr(Config(), section), key)
            assert convert(f"{section}.{key}", default, hint) == default
