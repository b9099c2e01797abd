"""`rlgns report`: where the page goes, and the numbers behind it."""

from __future__ import annotations

import json
import shutil
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


def test_a_folder_of_folders_is_one_page_that_names_what_it_leaves_out(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = run_folder.parent / "all"
    for name in ("a/one", "a/two", "b/c/three", "b/empty", "b/damaged"):
        shutil.copytree(run_folder, top / name)
    (top / "b/empty/metrics.jsonl").write_text("")
    (top / "b/damaged/config.yaml").write_text("a: [")
    (top / "notes").mkdir()
    assert cli.main(["report", str(top)]) == 0
    output = capsys.readouterr()
    assert output.out == f"{top / 'report.html'}\n"
    damaged, empty = output.err.splitlines()
    assert damaged.startswith(f"rlgns: left out: {top}/b/damaged: ")
    assert empty == f"rlgns: left out: {top}/b/empty: nothing was trained there yet"
    page = (top / "report.html").read_text(encoding="utf-8")
    for name in ("a/one", "a/two", "b/c/three"):
        assert f"pong ({top / name})" in page
    assert cli.main(["report", str(top / "notes")]) == 2
    assert "no run found in" in capsys.readouterr().err
    for name in ("a", "b/c"):
        shutil.rmtree(top / name)
    assert cli.main(["report", str(top)]) == 2
    assert f"no run found in {top}; left out: {top}/b/damaged: " in capsys.readouterr().err
