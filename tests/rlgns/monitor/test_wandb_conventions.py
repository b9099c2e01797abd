"""What W&B's users expect of a run: names and ids from their environment, the console, the best score, few rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

import rlgns.training as training
from rlgns.config.schema import Config, OutputConfig, RunConfig, WandbConfig
from rlgns.monitor.console import write_line
from rlgns.monitor.listener import RunStart
from rlgns.monitor.wandb_logger import WandbLogger
from rlgns.monitor.wandb_transaction_log import history, records
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.monitor.test_wandb_logger import files_of, log, start_of
from tests.rows import make_row, make_run

pytestmark = pytest.mark.usefixtures("no_login")


def run_record(path: Path) -> Any:
    return next(record.run for record in records(path) if record.WhichOneof("record_type") == "run")


def summary(path: Path) -> dict[str, Any]:
    """The newest values of the summary's entries."""
    updates = [record.summary.update for record in records(path) if record.WhichOneof("record_type") == "summary"]
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for each in updates for item in each}


@pytest.mark.parametrize("of_now", ["same", "other", "none"])
def test_a_run_of_a_wandb_sweep_keeps_id_and_sweep_when_it_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_now: str
) -> None:
    """Under the agent, another agent, or by hand: the client would take its id from the environment."""
    given = {"same": ("idpong", "sw1"), "other": ("another", "sw2"), "none": ("", "")}[of_now]
    for name, value in zip(("WANDB_RUN_ID", "WANDB_SWEEP_ID"), given, strict=True):
        monkeypatch.setenv(name, value)
    folder = RunFolder(tmp_path / "pong")
    folder.create({"run": {"seed": 0}}, {"game": "pong", "wandb_id": "idpong", "wandb_sweep": "sw1"})
    log(folder, range(1, 3))
    (path,) = files_of(folder)
    assert (run_record(path).run_id, run_record(path).sweep_id) == ("idpong", "sw1")
    plain = make_run(tmp_path / "plain", [])
    log(plain, range(1, 3))
    (path,) = files_of(plain)
    assert (run_record(path).run_id, run_record(path).sweep_id) == ("idpong", "")


def test_group_and_name_that_the_user_chose(tmp_path: Path) -> None:
    wandb = WandbConfig(mode="offline", group="night", name="first", project="atari")
    for games, name in ((("pong",), "first"), (("pong", "breakout"), "pong__first")):
        folder = make_run(tmp_path / name, [])
        config = Config(run=RunConfig(games=games, name="quick"), wandb=wandb)
        logger = WandbLogger(wandb, lambda text: None)
        logger.start([dataclasses.replace(start_of(folder), config=config)])
        logger.end("done")
        run = run_record(files_of(folder)[0])
        assert (run.display_name, run.run_group, run.project) == (name, "night", "atari")


def test_each_of_several_seeds_has_its_own_id_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """WANDB_RUN_ID names one run: two that shared it would write into each other. One seed takes it."""
    wandb = WandbConfig(mode="offline", name="first")
    config = Config(run=RunConfig(games=("pong",), name="quick"), wandb=wandb)
    said: list[str] = []

    def session(runs: list[RunStart], place: Path) -> int:
        for _ in range(2):  # the second time as if resumed
            logger = WandbLogger(wandb, said.append)
            logger.start(runs)
            logger.end("done")
        return 0

    monkeypatch.setattr(training, "_train_all", session)
    for seeds in ((3,), (3, 5)):
        monkeypatch.setenv("WANDB_RUN_ID", "mine")
        monkeypatch.setenv("WANDB_SWEEP_ID", "sw1")
        training.train(config, tmp_path / str(len(seeds)), seeds)
    found = {
        path.parent.parent.parent.relative_to(tmp_path).as_posix(): run_record(path)
        for path in tmp_path.rglob("run-*.wandb")
    }
    assert {place: run.display_name for place, run in found.items()} == {
        "1/pong-s3": "pong-s3__first",
        "2/pong-s3": "pong-s3__first",
        "2/pong-s5": "pong-s5__first",
    }
    assert (found["1/pong-s3"].run_id, found["1/pong-s3"].sweep_id) == ("mine", "sw1")
    several = [found[f"2/pong-s{seed}"] for seed in (3, 5)]
    assert len({"mine", *(run.run_id for run in several)}) == 3
    assert all((run.sweep_id, run.job_type) == ("", "train") for run in several)
    assert [text for text in said if "WANDB_RUN_ID" in text] == [
        "W&B: WANDB_RUN_ID mine names one run; these 2 have ids of their own"
    ]


def test_the_logs_have_the_lines_of_progress_and_no_frames(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "pong", [])
    logger = WandbLogger(WandbConfig(mode="offline"), lambda text: None)
    logger.start([start_of(folder)])
    write_line("drawn on the terminal: a live table would fill the logs")
    logger.row("pong", make_row(150))
    logger.message("pong: failed; resuming from its newest checkpoint")
    logger.end("done")
    (path,) = files_of(folder)
    text = (path.parent / "files" / "output.log").read_text()
    assert "drawn on the terminal" not in text
    starting, progress, *advice, message = text.splitlines()
    assert starting == "pong: starting 8 environments"
    assert progress.startswith("pong: 153,600 of 10,000,000 observations, score 3.5 (68 % of human)")
    assert all(line.startswith("pong: twice the ") for line in advice)
    assert message == "pong: failed; resuming from its newest checkpoint"


def test_the_summary_has_the_best_score_of_full_windows(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "pong", [])
    scores = {1: 30.0, 2: 9.0, 3: 12.0, 4: 11.0}  # the first is of few games
    rows = [make_row(n) | {"score_mean": s, "score_episodes": 50 if n == 1 else 100} for n, s in scores.items()]
    for resumed, some in ((False, rows[:3]), (True, rows[3:])):
        logger = WandbLogger(WandbConfig(mode="offline"), lambda text: None)
        logger.start([start_of(folder, resumed=resumed)])
        for row in some:
            folder.append(row)
            logger.row("pong", row)
        logger.end("done")
    for path in files_of(folder):
        found = summary(path)
        assert (found["best/score_mean"], found["best/observations"]) == (12.0, rows[2]["observations"])


def test_rows_are_thinned_alike_whatever_the_interruptions(tmp_path: Path) -> None:
    """Rows are 3.2 s apart; metrics.jsonl has all of them."""
    folder = make_run(tmp_path / "pong", [])
    for resumed, iterations in ((False, range(1, 10)), (True, range(10, 21))):
        logger = WandbLogger(WandbConfig(mode="offline"), lambda text: None)
        config = Config(run=RunConfig(name="quick"), output=OutputConfig(log_every_s=10))
        logger.start([dataclasses.replace(start_of(folder, resumed=resumed), config=config)])
        for iteration in iterations:
            folder.append(make_row(iteration))
            logger.row("pong", make_row(iteration))
        logger.end("done")
    assert [row["_step"] for path in files_of(folder) for row in history(path)] == [1, 5, 9, 13, 17, 20]
    assert len(folder.rows()) == 20
