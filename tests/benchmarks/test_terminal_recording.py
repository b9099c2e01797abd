"""The picture of the terminal: drawn from a run's rows, whole XML, nothing loaded from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.terminal_recording import OUT, record
from rlgns.python.runs import load_run
from tests.rows import make_row, make_run


def words(svg: str) -> str:
    """The text of a picture."""
    return " ".join(" ".join(ElementTree.fromstring(svg).itertext()).replace("\xa0", " ").split())


def test_it_shows_the_screen_after_a_share_of_the_run(tmp_path: Path) -> None:
    make_run(tmp_path / "run", [make_row(i) for i in range(1, 101)])
    svg = record(load_run(tmp_path / "run"), 112, 0.5, "rlgns train --game pong")
    text = words(svg)
    assert "$ rlgns train --game pong" in text
    assert "51.2k of 10M observations" in text
    assert "Critical batch about " in text
    assert svg == record(load_run(tmp_path / "run"), 112, 0.5, "rlgns train --game pong")


def test_the_committed_picture_has_the_verdict_and_loads_nothing() -> None:
    svg = OUT.read_text(encoding="utf-8")
    assert "Critical batch about " in words(svg)
    assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]
