"""A tiny sweep of a task: to the end, after a kill, and as `rlgns fit` and `rlgns report` read it."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from examples.tasks.__main__ import main
from examples.tasks.settings import find_task
from examples.tasks.sweep import read_rows
from rlgns.commands.cli import main as rlgns
from rlgns.critical.points import COLUMNS

ROOT = Path(__file__).parents[2]
OPTIONS = [
    "--batches",
    "16",
    "64",
    "--learning-rates",
    "2",
    "--widenings",
    "0",
    "--seeds",
    "0",
    "--goals",
    "1.0",
    "0.3",
]


def command(folder: Path, workers: int) -> list[str]:
    return ["digits-sgd", "--sweep", str(folder), "--workers", str(workers), *OPTIONS]


def points(folder: Path) -> list[dict[str, str]]:
    """The points without their seconds."""
    with (folder / "points.csv").open(newline="") as file:
        return [{key: cell for key, cell in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def trained(printed: str) -> list[str]:
    """Names of the trials that ended."""
    return re.findall(r"^(digits-sgd-\S+): .* after ", printed, re.MULTILINE)


def trial_names(folder: Path) -> set[str]:
    """Names of the trials that have a file."""
    return {file.name.removesuffix(".jsonl.gz") for file in (folder / "runs").glob("digits*.gz")}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks") / "sweep"
    assert main(command(folder, workers=1)) == 0
    return folder


def test_a_sweep_writes_points_and_rows(sweep: Path) -> None:
    found = points(sweep)
    assert set(found[0]) == set(COLUMNS) - {"seconds"}
    assert {(row["game"], row["goal_score"], row["batch_observations"]) for row in found} == {
        ("digits-sgd", goal, batch) for goal in ("-1", "-0.3") for batch in ("16", "64")
    }
    assert all(float(row["noise_scale"]) > 0 for row in found if row["goal_score"] == "-0.3")
    assert len(trial_names(sweep)) == 4
    assert all(file.stat().st_size < 20_000 for file in (sweep / "runs").iterdir())
    assert {row["run"] for row in found} <= trial_names(sweep)


def test_a_trial_stops_when_it_can_win_no_goal(sweep: Path) -> None:
    rule = find_task("digits-sgd").plan.learning_rate_rule
    for batch in (16, 64):
        centre, higher = (rule.learning_rate(batch, step) for step in (0, 1))
        first = read_rows(sweep / "runs" / f"digits-sgd-b{batch}-lr{centre:.3g}-s0.jsonl.gz")
        second = read_rows(sweep / "runs" / f"digits-sgd-b{batch}-lr{higher:.3g}-s0.jsonl.gz")
        assert first[-1]["smoothed"] <= 0.3
        assert second[-1]["step"] <= first[-1]["step"]


def test_fit_and_report_take_the_points(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rlgns(["fit", str(sweep)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^digits-sgd$", printed, re.MULTILINE)
    assert re.search(r"^ +-0\.3 ", printed, re.MULTILINE)
    assert rlgns(["report", str(sweep)]) == 0
    page = (sweep / "report.html").read_text()
    assert "Digits-Sgd" in page or "digits-sgd" in page
    capsys.readouterr()
    assert rlgns(["report", str(sweep), "--json"]) == 0
    (read,) = json.loads(capsys.readouterr().out)["sweeps"]
    assert read["plan"]["task"]["goals"] == [1.0, 0.3]


def test_the_same_command_again_trains_nothing(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = points(sweep)
    assert main(command(sweep, workers=1)) == 0
    assert trained(capsys.readouterr().err) == []
    assert points(sweep) == before


def test_other_settings_and_other_folders_are_refused(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command(sweep, workers=1), "--momentum", "0.9"]) == 2
    assert "other settings: momentum is 0.0 there and 0.9 here" in capsys.readouterr().err
    (tmp_path / "sweep.yaml").write_text("sweep: {}\n")
    assert main(command(tmp_path, workers=1)) == 2
    assert "holds a sweep of games; name another folder with --sweep" in capsys.readouterr().err


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_stopped_sweep_continues_and_trains_nothing_twice(
    sweep: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    folder = tmp_path / "sweep"
    arguments: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    words = [sys.executable, "-m", "examples.tasks", *command(folder, workers=2)]
    # A shell that runs the tests in the background has them ignore Ctrl-C.
    obey = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(words, **arguments, preexec_fn=obey) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(sent)
        first += process.stderr.read()  # ends when the workers, which got no signal, have ended too
    assert process.returncode == code
    ended = trial_names(folder)
    assert trained(first) and set(trained(first)) <= ended and "Traceback" not in first, first
    done = subprocess.run(words, **arguments, stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(trained(done.stderr)) == sorted(trial_names(sweep) - ended)
    assert points(folder) == points(sweep)
    for file in (sweep / "runs").iterdir():
        traces = [[row["trace"] for row in read_rows(place / "runs" / file.name)] for place in (sweep, folder)]
        assert traces[0] == traces[1], "a trial depends on its settings alone"


def test_a_mistake_in_a_worker_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command(tmp_path / "sweep", workers=2), "--goals", "9"]) == 2
    assert "tasks: --goals must be below the loss of the new model" in capsys.readouterr().err
