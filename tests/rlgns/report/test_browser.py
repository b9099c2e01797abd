"""The page in a real Chromium: drawn from disk without a network; planner, downloads and printing work."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlgns.report import write_report
from tests.browser import CHROMIUM, Browser, open_browser
from tests.pages import read_page
from tests.reference.critical import slow_plan
from tests.rows import make_probed_row, make_row, make_run
from tests.sweep_files import make_point, make_sweep, write_points

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def sweep_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    make_sweep(folder / "s", games=("pong", "breakout"), batches=(64, 256, 1024, 4096), iterations=12)
    write_report([folder / "s"], folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def sweep(browser: Browser, sweep_page: Path) -> Browser:
    """The sweep's page, opened once because that takes seconds. Each test sets the controls that it reads."""
    if browser.page != sweep_page:
        browser.open(sweep_page)
    return browser


def check_quiet(browser: Browser) -> None:
    assert (browser.requests, browser.errors) == ([], [])


def test_a_run_is_drawn_without_a_network(browser: Browser, tmp_path: Path) -> None:
    rows = [make_probed_row(i, of=40) if i % 4 == 0 else make_row(i, of=40) for i in range(1, 41)]
    write_report([make_run(tmp_path / "run", rows)], tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    charts = len(read_page(tmp_path / "page.html").charts)
    assert charts == 11
    assert browser.evaluate("document.querySelectorAll('.js-plotly-plot .main-svg').length") >= charts
    assert browser.evaluate("document.getElementById('failure').hidden")
    check_quiet(browser)


def test_a_browser_that_is_too_old_shows_a_message(browser: Browser, tmp_path: Path) -> None:
    write_report([make_run(tmp_path / "run", [make_row(9)])], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text().replace("new DecompressionStream", "new Missing")
    (tmp_path / "page.html").write_text(text)
    browser.open(tmp_path / "page.html", until="document.getElementById('failure')?.hidden === false")


def test_the_slider_changes_the_numbers(sweep: Browser) -> None:
    seen = []
    for place in ("100", "500", "900"):
        sweep.enter("#x-batch", place)
        shown = [sweep.text(f"#x-{name}") for name in ("batch-text", "time", "observations", "cost", "speed")]
        marker = sweep.evaluate("document.getElementById('x-chart').data[3].x[0]")
        seen.append((*shown, round(marker)))
        assert sweep.evaluate("document.getElementById('x-batch').getAttribute('aria-valuetext')").startswith(shown[0])
    assert all(len(set(column)) == 3 for column in zip(*seen, strict=True)), seen
    check_quiet(sweep)


def test_inputs_change_the_advice(sweep: Browser) -> None:
    sweep.enter("#x-machines", "8")
    advice = [sweep.text("#x-advice")]
    for name, value in (("machines", "1"), ("rate", "333"), ("price", "7"), ("share", "200")):
        sweep.enter(f"#x-{name}", value)
        advice.append(sweep.text("#x-advice"))
    assert len(set(advice)) == len(advice), advice
    assert "on the one machine" in advice[1] and "machines" in advice[0]
    sweep.enter("#x-price", "0")
    assert "cost" not in sweep.text("#x-advice")
    for nonsense in ("", "-5", "1e300"):
        sweep.enter("#x-machines", nonsense)
        assert "NaN" not in sweep.text("#planner-box") and "Infinity" not in sweep.text("#planner-box")


def test_a_goal_that_is_not_identified_has_no_advice(browser: Browser, tmp_path: Path) -> None:
    points = [make_point("qbert", 1000, batch, noise=0.01) for batch in (8, 16, 32, 64, 128, 256)]
    write_points(tmp_path / "points.csv", points)
    write_report([tmp_path / "points.csv"], tmp_path / "page.html")
    (goal,) = read_page(tmp_path / "page.html").data["planner-data"]
    assert not goal["identified"]
    browser.open(tmp_path / "page.html")
    assert browser.text("#x-advice").startswith("No advice for this goal. The critical batch is not identified")
    assert {browser.text(f"#x-{name}") for name in ("time", "observations", "cost", "speed")} == {"-"}
    check_quiet(browser)


def test_batches_outside_the_measured_ones_are_named(sweep: Browser, sweep_page: Path) -> None:
    goal = json.dumps(read_page(sweep_page).data["planner-data"][-1] | {"critical_batch": 3000})
    inputs = {"machines": 40, "rate": 700.0, "price": 2.5, "share": 32}
    more = sweep.evaluate(f"advice({goal}, {json.dumps(inputs)})")[1]
    assert more.endswith("A batch of 32 is outside the measured 64 to 4,096.")
    within = json.dumps(inputs | {"machines": 20, "share": 64})
    assert "outside" not in sweep.evaluate(f"advice({goal}, {within})")[1]
    sweep.enter("#x-batch", "1000")
    assert "is outside the measured" in sweep.text("#x-note")


def test_another_goal_is_another_front(sweep: Browser) -> None:
    sweep.enter("#x-goal", "1", event="change")
    before = sweep.text("#x-note"), sweep.evaluate("document.getElementById('x-chart').data[1].x.join()")
    sweep.enter("#x-goal", "0", event="change")
    sweep.wait(f"document.getElementById('x-chart').data[1].x.join() !== {before[1]!r}")
    assert sweep.text("#x-note") != before[0]
    check_quiet(sweep)


@pytest.mark.parametrize("batch", [10, 64, 777, 5000, 1e6])
def test_javascript_and_python_agree(sweep: Browser, sweep_page: Path, batch: float) -> None:
    for goal in read_page(sweep_page).data["planner-data"]:
        inputs = {"machines": 5, "rate": 700.0, "price": 2.5, "share": 100}
        planned: dict[str, Any] = sweep.evaluate(f"plan({json.dumps(goal)}, {batch}, {json.dumps(inputs)})")
        for name, value in slow_plan(goal, batch, **inputs).items():
            assert planned[name] == pytest.approx(value, rel=1e-9), name


def test_the_advice_is_the_fastest_at_twice_the_least_cost(sweep: Browser, sweep_page: Path) -> None:
    goal = read_page(sweep_page).data["planner-data"][-1]
    inputs = {"machines": 40, "rate": 700.0, "price": 2.5, "share": 64}
    head = sweep.evaluate(f"advice({json.dumps(goal)}, {json.dumps(inputs)})")[0]
    options = [slow_plan(goal, 64.0 * machines, **inputs) for machines in range(1, 41)]
    affordable = [option for option in options if option["observations"] <= 2 * goal["min_observations"]]
    best = min(affordable, key=lambda option: option["seconds"])["machines"]
    assert head.startswith(f"Use a batch of {64 * best:,} on {best} of the 40 machines"), head


def test_a_download_is_the_figures_data(sweep: Browser, sweep_page: Path, tmp_path: Path) -> None:
    sweep.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    name, expected = next((k, v) for k, v in read_page(sweep_page).downloads.items() if k.endswith("pareto.csv"))
    sweep.evaluate(f"document.querySelector('a[download=\"{name}\"]').click()")
    sweep.wait_for_file(tmp_path / name)
    with (tmp_path / name).open(newline="") as file:
        assert list(csv.reader(file)) == expected
    check_quiet(sweep)


def test_folded_runs_are_drawn_when_they_are_opened(sweep: Browser) -> None:
    chart = "document.querySelector('details.run .chart')"
    assert not sweep.evaluate(f"{chart}.classList.contains('js-plotly-plot')")
    sweep.evaluate("document.querySelector('details.run').open = true")
    sweep.wait(f"{chart}.classList.contains('js-plotly-plot')")
    check_quiet(sweep)


def test_a_phone_does_not_scroll_sideways_and_dark_is_dark(sweep: Browser) -> None:
    sweep.show(width=390, dark=True)
    sweep.wait("document.documentElement.scrollWidth <= window.innerWidth")
    assert sweep.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 26)"
    inks = "[...new Set([...document.querySelectorAll('.main-svg text')].map((t) => getComputedStyle(t).fill))]"
    assert sweep.evaluate(inks) == ["rgb(231, 234, 238)"]


def test_it_prints_light_and_whole(sweep: Browser, tmp_path: Path) -> None:
    sweep.show(dark=True)
    sweep.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    sweep.call("Emulation.setEmulatedMedia", media="print")
    assert sweep.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    boxes = "[...document.querySelectorAll('.main-svg')].every((svg) => svg.hasAttribute('viewBox'))"
    assert sweep.evaluate(boxes)
    sweep.call("Emulation.setEmulatedMedia", media="")
