"""`rlgns report`: where the page goes, and the numbers behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlgns.commands import cli


def test_report_writes_a_page_or_prints_numbers(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(run_folder)]) == 0
    assert capsys.readouterr().out == f"{run_folder / 'report.html'}\n"
    assert "<html" in (run_folder / "report.html").read_text(encoding="utf-8")
    assert cli.main(["report", str(run_folder), str(run_folder), "--out", "two.html"]) == 0
    assert capsys.readouterr().out == "two.html\n"
    assert cli.main(["report", str(run_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"]
