"""The report: one file that needs no network, for any outcome of a run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rlgns.errors import FaultError, UserError
from rlgns.report import report_data, summary, write_report
from rlgns.report.content import ReportContent
from rlgns.report.document import document
from rlgns.report.run_data import RunData
from rlgns.storage.run_folder import RunFolder
from tests.pages import FIVE_MEGABYTES, Page, read_page
from tests.rows import make_null_row, make_probed_row, make_row, make_run, noise_share


def page_of(folders: list[RunFolder], out: Path) -> Page:
    write_report(folders, out)
    return read_page(out)


@pytest.fixture
def long_run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path / "run", [make_row(iteration) for iteration in range(1, 201)])


def test_a_run(long_run: RunFolder) -> None:
    page = page_of([long_run], long_run.report_path)
    assert len(page.charts) == 6
    for part in (
        "Some CPU </script> & co",
        "no sticky actions",
        "torch 2.13.0",
        "went from -20.8 to 8.3 over 204,800 observations",
        "Twice the environments: 1.6x",
        "Pong, 204,800 observations: Critical batch about 930 (360 to 2,400) observations, the batch of 116 (4",
        "you use 32: keep them, since the interval includes them; the best estimate says more, and only a sweep can "
        "decide. (From the 50 % of the run before the learning rate fell below half, learning rate 1.9e-4 on "
        "average, preset quick, calibrated on A2C.)",
        "to within 0.1 %",
        "41 % playing",
        "only a lower bound is known",
    ):
        assert part in page.text, part
    names = {trace["name"] for chart in page.charts for trace in chart["data"]}
    assert {"interval", "at least", "batch in use", "run average", "measured"} <= names


def test_whose_noise_it_is_has_a_line(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [make_row(1), make_row(2) | noise_share(0.2, 0.1, 0.4)])
    line = "oise by loss, recently: the policy's gradients make 80 % of the noise (60 % to 90 %)"
    assert f"N{line}." in page_of([folder], folder.report_path).text
    assert f"  n{line}" in summary([folder])


def test_downloads_hold_the_numbers(long_run: RunFolder) -> None:
    page = page_of([long_run], long_run.report_path)
    header, *lines = page.downloads["pong-score.csv"]
    assert header == ["observations", "score_mean", "human_normalised_score"]
    assert [line[0] for line in lines] == [str(row["observations"]) for row in long_run.rows()]
    assert lines[0][1] == ""
    assert float(lines[-1][1]) == pytest.approx(long_run.rows()[-1]["score_mean"], rel=1e-8)


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
def test_runs_with_few_results(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    folder = make_run(tmp_path / "run", rows)
    page_of([folder], folder.report_path)
    assert json.loads(json.dumps(report_data([folder]), allow_nan=False))["runs"][0]["label"] == "pong"
    text = summary([folder])
    assert "None" not in text
    assert f"report: {folder.report_path}" in text


def test_a_run_off_policy_has_a_warning(tmp_path: Path) -> None:
    lagged = [make_row(iteration) | {"policy_lag": int(iteration > 1)} for iteration in range(1, 11)]
    page_of([make_run(tmp_path / "lagged", lagged)], tmp_path / "lagged.html")
    text = (tmp_path / "lagged.html").read_text(encoding="utf-8")
    assert "In 9 of 10 iterations the rollout was played by weights one update old" in text
    page_of([make_run(tmp_path / "plain", [make_row(1) | {"policy_lag": 0}])], tmp_path / "plain.html")
    assert "one update old" not in (tmp_path / "plain.html").read_text(encoding="utf-8")


def test_several_games_and_seeds_on_one_page(tmp_path: Path) -> None:
    folders = [
        make_run(tmp_path / "a" / "pong", [make_row(i) for i in range(1, 101)]),
        make_run(tmp_path / "b" / "pong", [make_row(i, seed=1) for i in range(1, 51)], seed=1),
        make_run(tmp_path / "a" / "breakout", [make_row(i, batch=512) for i in range(1, 11)], game="breakout"),
        make_run(tmp_path / "a" / "qbert", [], game="qbert"),
    ]
    page = page_of(folders, tmp_path / "all.html")
    assert len(page.charts) == 3 * 5 + 4  # with the time, the performance profile and two figures of pong's seeds
    (bars,) = [chart for chart in page.charts if chart["data"][0].get("type") == "bar"]
    assert bars["data"][0]["y"] == [f"pong ({folders[0].path})", f"pong ({folders[1].path})", "breakout"]
    lines = summary(folders).splitlines()
    assert [line.split(": ")[1].split(" ")[0] for line in lines[:4]] == ["Critical"] * 4
    assert lines[4].split()[:3] == ["game", "observations", "score"]
    columns = {line.index("  ") for line in lines[5:6]}
    assert columns
    assert "breakout: Critical batch not known yet: at least" in summary(folders)
    assert "qbert: twice the environments: not known yet" in summary(folders)


def test_a_long_run_stays_small(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [make_row(i, of=6000) for i in range(1, 6001)])
    page = page_of([folder], folder.report_path)
    assert max(len(trace["x"]) for chart in page.charts for trace in chart["data"]) <= 4000
    series = report_data([folder])["runs"][0]["series"]
    assert len(series["observations"]) == 2000
    assert series["observations"][-1] == folder.rows()[-1]["observations"]


def test_every_game_of_the_benchmark_fits_on_a_page() -> None:
    rows = [make_probed_row(i, of=400) for i in range(1, 401)]
    runs = tuple(RunData(label=f"game {number}", about={"game": f"game {number}"}, rows=rows) for number in range(70))
    text = document(ReportContent(runs=runs))
    assert len(text) < FIVE_MEGABYTES
    assert "The first 25 of these runs follow in full." in text
    page = Page(text)
    assert "run-25" in page.ids and "run-26" not in page.ids
    assert "game 69" in page.text


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


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("agent", [1], "config: agent: [1] is not a section of keys and values"),
        ("agent", {"epochs": "x"}, "agent.epochs: 'x' is not a whole number"),
        ("run", {"seed": [0]}, "run.seed: [0] is not a whole number"),
    ],
)
def test_a_damaged_config_is_refused(tmp_path: Path, section: str, values: object, words: str) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create({section: values}, {"game": "pong"})
    folder.append(make_row(1))
    with pytest.raises(UserError, match=re.escape(words)):
        report_data([folder])
