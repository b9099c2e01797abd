"""The report: one file that needs no network, whatever the run came to."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from rlgns.errors import FaultError
from rlgns.folder import RunFolder
from rlgns.report import report_data, summary, write_report
from tests.rows import make_null_row, make_row, make_run

FIVE_MEGABYTES = 5_000_000


class Page(HTMLParser):
    """Collects what a page refers to, its text, its headings and its embedded figures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.levels: list[int] = []
        self.charts: list[dict[str, Any]] = []
        self.labels: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self._script = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if named.get("role") == "img":
            self.labels.append(named.get("aria-label") or "")
        if named.get("id"):
            self.ids.append(str(named["id"]))
        self._script = str(named.get("type", "script")) if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._script = ""

    def handle_data(self, data: str) -> None:
        if self._script == "application/json":
            self.charts.append(json.loads(data))
        elif not self._script:
            self.text += data


def page_of(folders: list[RunFolder], out: Path) -> Page:
    write_report(folders, out)
    text = out.read_text()
    assert len(text) < FIVE_MEGABYTES
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?\s*(https?:)?//""", text)
    page = Page(text)
    assert all(ref.startswith(("data:", "#")) for ref in page.references), page.references
    assert len(page.ids) == len(set(page.ids))
    assert page.levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(page.levels, page.levels[1:], strict=False))
    assert len(page.charts) == len(page.labels)
    assert all(page.labels)
    for word in ("None", "nan", "NaN", "inf "):
        assert word not in page.text
    return page


@pytest.fixture
def long_run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path / "run", [make_row(iteration) for iteration in range(1, 201)])


def test_a_run(long_run: RunFolder) -> None:
    page = page_of([long_run], long_run.report_path)
    assert len(page.charts) == 5
    for part in (
        "Some CPU </script> & co",
        "no sticky actions",
        "torch 2.13.0",
        "went from -20.8 to 8.3 over 204,800 observations",
        "Twice the environments: 1.8x",
        "1.3 to 5.7 times smaller",
        "to within 0.1 %",
        "41 % playing",
        "a noise scale of 1,500 observations",
        "only a lower bound could be told",
    ):
        assert part in page.text, part
    names = {trace["name"] for chart in page.charts for trace in chart["data"]}
    assert {"confidence interval", "at least", "batch in use", "average of the run so far", "measured"} <= names


def test_downloads_hold_the_numbers(long_run: RunFolder) -> None:
    page = page_of([long_run], long_run.report_path)
    links = [ref for ref in page.references if ref.startswith("data:text/csv")]
    assert len(links) == 5
    (header, *lines), *_ = [
        list(csv.reader(io.StringIO(base64.b64decode(ref.split(",")[1]).decode()))) for ref in links
    ]
    assert header == ["observations", "score_mean", "human_normalised_score"]
    assert [line[0] for line in lines] == [str(row["observations"]) for row in long_run.rows()]
    assert lines[0][1] == ""
    assert float(lines[-1][1]) == long_run.rows()[-1]["score_mean"]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [make_row(1)],
        [make_row(150)],
        [make_null_row(1)],
        [make_null_row(i) for i in range(1, 9)],
        [make_row(150), make_null_row(151)],
        [make_row(150) | {"noise/grad_sq": -1.0, "noise/scale": -50.0, "noise/scale_low": -80.0}],
    ],
    ids=["empty", "one early row", "one late row", "one null row", "null rows", "null at the end", "negative"],
)
def test_runs_that_came_to_little(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    folder = make_run(tmp_path / "run", rows)
    page_of([folder], folder.report_path)
    assert json.loads(json.dumps(report_data([folder]), allow_nan=False))["runs"][0]["label"] == "pong"
    text = summary([folder])
    assert "None" not in text
    assert f"report: {folder.report_path}" in text


def test_several_games_and_seeds_on_one_page(tmp_path: Path) -> None:
    folders = [
        make_run(tmp_path / "a" / "pong", [make_row(i) for i in range(1, 101)]),
        make_run(tmp_path / "b" / "pong", [make_row(i, seed=1) for i in range(1, 51)], seed=1),
        make_run(tmp_path / "a" / "breakout", [make_row(i, batch=512) for i in range(1, 11)], game="breakout"),
        make_run(tmp_path / "a" / "qbert", [], game="qbert"),
    ]
    page = page_of(folders, tmp_path / "all.html")
    assert len(page.charts) == 3 * 4 + 1
    (bars,) = [chart for chart in page.charts if chart["data"][0].get("type") == "bar"]
    assert bars["data"][0]["y"] == [f"pong ({folders[0].path})", f"pong ({folders[1].path})", "breakout"]
    lines = summary(folders).splitlines()
    assert lines[0].split()[:3] == ["game", "observations", "score"]
    columns = {line.index("  ") for line in lines[1:2]}
    assert columns
    assert "breakout: twice the environments: at least" in summary(folders)
    assert "qbert: not enough measurements yet" in summary(folders)


def test_a_long_run_stays_small(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [make_row(i, of=6000) for i in range(1, 6001)])
    page = page_of([folder], folder.report_path)
    assert max(len(trace["x"]) for chart in page.charts for trace in chart["data"]) <= 4000
    series = report_data([folder])["runs"][0]["series"]
    assert len(series["observations"]) == 2000
    assert series["observations"][-1] == folder.rows()[-1]["observations"]


def test_report_data_has_the_numbers(long_run: RunFolder) -> None:
    (run,) = report_data([long_run])["runs"]
    last = long_run.rows()[-1]
    assert run["final"]["noise/scale"] == last["noise/scale"]
    assert run["series"]["noise/scale"][0] is None
    assert run["series"]["noise/scale"][-1] == last["noise/scale"]
    assert run["ladder"]["noise_scale"] == pytest.approx(1500, rel=0.1)
    assert sum(run["time_s"].values()) == pytest.approx(last["seconds"])
    low, mid, high = run["advice"]["step_ratio"]
    assert 0.5 < low < mid < high < 1


def test_a_torn_last_line_is_no_trouble(long_run: RunFolder) -> None:
    with long_run.metrics_path.open("ab") as file:
        file.write(b'{"iteration": 201, "obs')
    page_of([long_run], long_run.report_path)


def test_a_page_that_cannot_be_written_is_a_fault(long_run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FaultError, match=r"cannot write .*file/report\.html: (Not a directory|File exists)"):
        write_report([long_run], tmp_path / "file" / "report.html")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_draws_every_figure(long_run: RunFolder, tmp_path: Path) -> None:
    write_report([long_run], long_run.report_path)
    quiet = "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        *quiet.split(),
        f"--user-data-dir={tmp_path}/c",
    ]
    done = subprocess.run(
        [*command, "--virtual-time-budget=20000", "--dump-dom", f"file://{long_run.report_path}"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"HOME": str(tmp_path)},
        check=True,
    )
    assert done.stdout.count('class="chart js-plotly-plot"') == 5
    assert '<p id="failure" hidden="">' in done.stdout
