"""Weights & Biases with its real client, offline and against a server that is not there."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from rlgns.config.schema import Config, RunConfig, WandbConfig
from rlgns.monitor.flat_rows import flatten
from rlgns.monitor.listener import RunStart
from rlgns.monitor.wandb_logger import WandbLogger
from rlgns.monitor.wandb_login import choose_mode, logged_in
from rlgns.monitor.wandb_transaction_log import history, records
from rlgns.storage.run_folder import RunFolder
from tests.rows import make_row, make_run

pytestmark = pytest.mark.usefixtures("no_login")


def start_of(folder: RunFolder, *, game: str = "pong", resumed: bool = False) -> RunStart:
    config = Config(run=RunConfig(games=(game,), seed=7, name="quick"))
    return RunStart(game=game, folder=folder, config=config, wandb_id=f"id{game}", resumed=resumed)


def log(folder: RunFolder, iterations: range, *, resumed: bool = False, mode: str = "offline") -> list[str]:
    lines: list[str] = []
    logger = WandbLogger(WandbConfig(mode=mode, tags=("mine",)), lines.append)
    logger.start([start_of(folder, resumed=resumed)])
    for iteration in iterations:
        row = make_row(iteration)
        folder.append(row)
        logger.row("pong", row)
    logger.end("done")
    return lines


def log_and_be_killed(folder: RunFolder) -> None:
    logger = WandbLogger(WandbConfig(mode="offline"), print)
    logger.start([start_of(folder)])
    for iteration in range(1, 61):
        folder.append(make_row(iteration))
        logger.row("pong", make_row(iteration))
    while not history(files_of(folder)[0]):  # 60 rows are more than it holds back, but it writes when it comes to it
        time.sleep(0.01)
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os.kill(os.getpid(), signal.SIGKILL)


def files_of(folder: RunFolder) -> list[Path]:
    return sorted(folder.path.glob("wandb/*run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)


def test_offline_run_holds_everything(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "pong", [])
    (line,) = log(folder, range(1, 6), mode="auto")
    assert line.startswith("W&B: offline (not logged in")
    assert f"wandb sync {folder.path}/wandb/offline-run-*" in line
    (path,) = files_of(folder)
    rows = history(path)
    assert [row["_step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["observations"] for row in rows] == [row["observations"] for row in folder.rows()]
    assert rows[4]["noise/ladder/256"] == folder.rows()[4]["noise/ladder"][-1]["grad_sq_norm"]
    assert (rows[0]["reference/random_score"], rows[0]["reference/human_score"]) == (-20.7, 14.6)
    assert "score_mean" not in rows[0]
    assert "score_mean" in rows[4]

    kinds = {record.WhichOneof("record_type"): record for record in records(path)}
    summary = {
        item.key or "/".join(item.nested_key): item.value_json for r in records(path) for item in r.summary.update
    }
    assert json.loads(summary["verdict"]).startswith("Critical batch not known yet: at least ")
    assert "preset quick, calibrated on A2C.)" in summary["verdict"]
    run = kinds["run"].run
    assert (run.run_id, run.display_name, run.run_group, run.job_type) == ("idpong", "pong__quick__7", "quick", "train")
    assert (run.project, list(run.tags)) == ("rlgns", ["pong", "baselines", "quick", "mine"])
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (config["exp_name"], config["env_id"], config["seed"]) == ("quick", "PongNoFrameskip-v4", 7)
    metrics = [record.metric for record in records(path) if record.WhichOneof("record_type") == "metric"]
    assert "observations" in [metric.name for metric in metrics]
    assert [metric.step_metric for metric in metrics if metric.glob_name == "*"] == ["observations"]


def test_a_sweeps_runs_begin_and_end_one_by_one_under_their_names(tmp_path: Path) -> None:
    logger = WandbLogger(WandbConfig(mode="offline"), lambda text: None)
    folders = {name: make_run(tmp_path / name, []) for name in ("pong-b64", "pong-b128")}
    for name, folder in folders.items():
        logger.start([dataclasses.replace(start_of(folder), name=name, job_type="sweep", wandb_id=f"id{name}")])
        logger.row(name, make_row(1))
    logger.finish("pong-b64", "done")
    logger.finish("never-begun", "done")
    logger.row("pong-b64", make_row(2))  # comes too late, and is no error
    logger.row("pong-b128", make_row(2))
    logger.end("done")
    for name, steps in (("pong-b64", [1]), ("pong-b128", [1, 2])):
        (path,) = files_of(folders[name])
        assert [row["_step"] for row in history(path)] == steps
        run = next(record.run for record in records(path) if record.WhichOneof("record_type") == "run")
        assert (run.display_name, run.run_group, run.job_type) == (f"{name}__quick__7", "quick", "sweep")


def test_resume_goes_on_without_gap_or_overlap(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "pong", [])
    log(folder, range(1, 5))
    folder.append(make_row(5))  # W&B did not get this one: the kill came between.
    log(folder, range(6, 8), resumed=True)
    log(folder, range(8, 10), resumed=True)
    paths = files_of(folder)
    assert [[row["_step"] for row in history(path)] for path in paths] == [[1, 2, 3, 4], [5, 6, 7], [8, 9]]
    ids = [r.run.run_id for path in paths for r in records(path) if r.WhichOneof("record_type") == "run"]
    assert set(ids) == {"idpong"}


def test_what_a_killed_client_held_in_memory_is_logged_by_the_next(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "pong", [])
    code = f"from {__name__} import *; log_and_be_killed(RunFolder({str(folder.path)!r}))"
    died = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    assert died.returncode == -signal.SIGKILL
    assert 0 < len(history(files_of(folder)[0])) < 60  # the client writes when it has 32 kB
    log(folder, range(61, 63), resumed=True)
    first, second = files_of(folder)
    assert [row["_step"] for path in (first, second) for row in history(path)] == list(range(1, 63))


def test_a_row_that_was_written_but_not_reported_is_logged_in_its_place(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "pong", [])
    logger = WandbLogger(WandbConfig(mode="offline"), lambda text: None)
    logger.start([start_of(folder)])
    for iteration in range(1, 7):
        folder.append(make_row(iteration))
        if iteration not in (3, 6):  # the trial was killed between writing and reporting
            logger.row("pong", make_row(iteration))
    logger.end("done")
    (path,) = files_of(folder)
    assert [row["_step"] for row in history(path)] == [1, 2, 3, 4, 5, 6]


def test_several_games_at_once(tmp_path: Path) -> None:
    folders = {game: make_run(tmp_path / game, [], game=game) for game in ("pong", "breakout")}
    lines: list[str] = []
    logger = WandbLogger(WandbConfig(mode="offline"), lines.append)
    logger.start([start_of(folder, game=game) for game, folder in folders.items()])
    for iteration in (1, 2):
        for game in folders:
            logger.row(game, make_row(iteration, game=game))
    logger.end("interrupted")
    assert len(lines) == 1
    for folder in folders.values():
        (path,) = files_of(folder)
        assert [row["_step"] for row in history(path)] == [1, 2]


@pytest.mark.parametrize("mode", ["online", "auto"])
def test_unreachable_server_does_not_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    folder = make_run(tmp_path / "pong", [])
    (line,) = log(folder, range(1, 3), mode=mode)
    assert line.startswith("W&B: offline (http://127.0.0.1:9 cannot be reached)")
    (path,) = files_of(folder)
    assert [row["_step"] for row in history(path)] == [1, 2]


def test_client_that_cannot_start_does_not_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "x")
    folder = make_run(tmp_path / "pong", [])
    lines: list[str] = []
    logger = WandbLogger(WandbConfig(mode="offline", project="not/a:project"), lines.append)
    logger.start([start_of(folder)])
    logger.row("pong", make_row(1))
    logger.end("done")
    assert len(lines) == 1
    assert lines[0].startswith("W&B is off for pong: ")
    assert "\n" not in lines[0]


def test_disabled_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "pong", [])
    assert log(folder, range(1, 3), mode="disabled") == []
    assert not folder.wandb_path.exists()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert choose_mode("auto") == ("disabled", "WANDB_MODE is disabled")
    assert choose_mode("offline")[0] == "offline"


def test_login_is_found_without_asking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "malformed")
    assert not logged_in()
    monkeypatch.delenv("WANDB_API_KEY")
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'a' * 40}\n")
    assert logged_in()


def test_flatten() -> None:
    row: dict[str, Any] = {
        "game": "pong",
        "iteration": 3,
        "noise/resolved": True,
        "noise/scale": None,
        "noise/ladder": [
            {"batch_observations": 32, "grad_sq_norm": 2.0},
            {"batch_observations": 64, "grad_sq_norm": None},
        ],
        "noise/layers": [{"layer": "conv1", "grad_sq": 1.0, "trace": 3.0, "scale": None}],
        "noise/time_ladder": [{"steps": 32, "trace": 5.0}],
        "noise/by_step": [{"step": 0, "grad_sq": 0.5, "trace": 7.0}],
        "noise/resolves_first": "policy",
    }
    assert flatten(row) == {
        "iteration": 3,
        "noise/resolved": True,
        "noise/ladder/32": 2.0,
        "noise/layers/conv1/grad_sq": 1.0,
        "noise/layers/conv1/trace": 3.0,
        "noise/time_ladder/32/trace": 5.0,
        "noise/by_step/0/grad_sq": 0.5,
        "noise/by_step/0/trace": 7.0,
    }
