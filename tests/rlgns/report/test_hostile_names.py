"""Names in a run's files are text on the page: they start no script, hide nothing, and leave no folder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlgns.report import write_report
from rlgns.report.content import read_content
from rlgns.report.document import figures
from rlgns.report.html_elements import csv_text
from rlgns.storage.run_folder import RunFolder
from tests.browser import CHROMIUM, open_browser
from tests.pages import Page
from tests.rows import make_probed_row
from tests.sweep_files import make_point, write_points

SCRIPT = "window.hit = 1"
HOSTILE = (
    f'<a href="#x" onclick="{SCRIPT}"><img src="x" onerror="{SCRIPT}"></a>',
    f"</script><script>{SCRIPT}</script>",
    "<!--<script>",
    f'"><img src="x" onerror="{SCRIPT}">',
    f"</title></style></textarea><svg onload='{SCRIPT}'>",
    f'<a href="javascript:{SCRIPT}">%{{x}}</a>',
    "\ud800 \x00 & &lt;b> 名前",
)
"""Names as a file may hold them."""


def hostile_run(path: Path, name: str) -> RunFolder:
    """A run all of whose texts are `name`."""
    folder = RunFolder(path)
    about: dict[str, Any] = dict.fromkeys(("game", "created", "preset", "protocol"), name)
    about |= {part: {name: name, "cpu": [name]} for part in ("versions", "hardware", "git")}
    folder.create({"run": {"seed": 0}, "env": {"protocol": name}, name: {name: name}}, about)
    for iteration in range(1, 13):
        row = make_probed_row(iteration, of=12) | {"game": name, name: name, "noise/resolves_first": name}
        layers = [entry | {"layer": f"{name} {entry['layer']}"} for entry in row["noise/layers"]]
        folder.append(row | {"noise/layers": layers})
    return folder


def hostile_sources(folder: Path, names: Sequence[str] = HOSTILE) -> list[Path]:
    """A run for each name, a sweep of games with these names, and a table of points."""
    sweep = folder / "<script>sweep<!--"
    points = []
    for number, name in enumerate(names):
        run = f"<a {number} <!--<script>"
        hostile_run(folder / "runs" / f"{number}<!--<script>", name)
        hostile_run(sweep / "runs" / run, name)
        clean = name.replace("\x00", "").replace("\ud800", "")
        points += [make_point("pong", 0, 2**k, run=run) | {"game": clean} for k in range(5, 12)]
    write_points(sweep / "points.csv", points)
    write_points(folder / "<a <!--<script>.csv", points)
    return [*sorted((folder / "runs").iterdir()), sweep, folder / "<a <!--<script>.csv"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    write_report(hostile_sources(folder), folder / "report.html")
    return folder / "report.html"


def test_the_page_has_its_own_elements_alone(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    parsed = Page(text)
    assert parsed.tags.count("script") == 2 + len(parsed.data)
    assert not {"img", "svg", "textarea"} & set(parsed.tags)
    assert "<!--" not in text
    assert all(ref.startswith(("data:", "#")) for ref in parsed.references)
    for name in HOSTILE[:-1]:
        assert parsed.text.count(name) > 10, name


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt install chromium)")
def test_no_script_of_a_name_runs_in_a_browser(tmp_path: Path) -> None:
    write_report(hostile_sources(tmp_path, [" ".join(HOSTILE)]), tmp_path / "report.html")
    with open_browser() as browser:
        browser.open(tmp_path / "report.html")
        browser.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        browser.wait("[...document.querySelectorAll('.chart')].every((c) => c.classList.contains('js-plotly-plot'))")
        assert browser.evaluate("window.hit === undefined")
        assert (browser.requests, browser.errors) == ([], [])
        assert browser.evaluate("document.querySelectorAll('img, iframe, object, embed').length") == 0
        # no name makes an element in plotly's drawings either
        assert browser.evaluate("document.querySelectorAll('.chart a, .chart b').length") == 0


def test_a_cell_of_text_is_no_formula() -> None:
    rows = [("=1+2", "+1+2", "-1+2", "@x", "\t=1", "-1.5", -1.5, "a=b", "+inf")]
    (cells,) = csv.reader(csv_text(["a"] * 9, rows).splitlines()[1:])
    assert cells == ["'=1+2", "'+1+2", "'-1+2", "'@x", "'\t=1", "-1.5", "-1.5", "a=b", "+inf"]


def test_names_of_figures_are_names_of_files(tmp_path: Path) -> None:
    games = ("../x", "/etc/x", "a/b", "a b", "a.b", "..", "x" * 400, "Space Invaders", "名前", "\x00")
    points = [make_point("pong", 0, 2**k) | {"game": game} for game in games for k in range(5, 12)]
    points = [point for point in points if point["game"] != "\x00"]
    found = figures(read_content([write_points(tmp_path / "p.csv", points)]))
    assert len([name for name in found if name.endswith("-pareto")]) == len(games) - 1
    assert "space_invaders-pareto" in found
    for name in found:
        assert Path(f"{name}.png").name == f"{name}.png" and len(f"{name}.png".encode()) < 255, name
        assert not name.startswith((".", "-")), name
