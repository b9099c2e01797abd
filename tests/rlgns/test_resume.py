"""What `rlgns train --resume` refuses and repairs: torn checkpoints, runs in use."""

import os
from pathlib import Path

import pytest
import yaml

from rlgns.config.load import to_dict
from rlgns.config.schema import Config
from rlgns.errors import UserError
from rlgns.monitor.wandb_transaction_log import history
from rlgns.storage.checkpoint import load
from rlgns.storage.run_folder import RunFolder
from rlgns.training import resume
from tests.rlgns.training_process import iterations, start


def test_a_run_whose_checkpoints_are_all_torn_is_not_resumed(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(tmp_path, "train", "--out", str(out), "--observations", "256", "--wandb.mode", "disabled")
    process.communicate()
    (state,) = (out / "checkpoints").glob("*/state.pt")
    state.write_bytes(state.read_bytes()[:100])
    before = (out / "metrics.jsonl").read_bytes()
    process = start(tmp_path, "train", "--resume", str(out))
    _, stderr = process.communicate()
    assert process.returncode == 2
    assert "is torn" in stderr
    assert stderr.count("\n") == 1
    assert (out / "metrics.jsonl").read_bytes() == before


def test_a_finished_run_whose_newest_checkpoint_is_torn_is_trained_again_from_the_older(tmp_path: Path) -> None:
    out = tmp_path / "run"
    every = ("--engine.checkpoint_every_s", "0")
    start(
        tmp_path, "train", "--out", str(out), "--observations", "768", "--wandb.mode", "disabled", *every
    ).communicate()
    newest, older = out / "checkpoints" / "00000003", out / "checkpoints" / "00000002"
    whole = load(newest)
    content = (newest / "state.pt").read_bytes()
    (newest / "state.pt").write_bytes(content[: len(content) // 2])
    metrics = (out / "metrics.jsonl").read_bytes()
    process = start(tmp_path, "train", "--resume", str(out))
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    (line,) = (line for line in stderr.splitlines() if "is torn or not a checkpoint" in line)
    assert line.startswith(f"rlgns: checkpoint {newest} ") and line.endswith(f"; the older {older} is used instead")
    assert (
        "pong: no whole checkpoint holds iteration 3; training repeats what is missing from 512 observations" in stderr
    )
    assert load(newest)["observations"] == whole["observations"]
    assert (out / "metrics.jsonl").read_bytes() == metrics


def test_a_run_in_use_is_not_resumed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.create(to_dict(Config()), {"game": "pong", "wandb_id": "abc"})
    handle = folder.lock()
    with pytest.raises(UserError, match="another process is training this run"):
        resume(tmp_path, patience_s=0)
    os.close(handle)


def test_of_two_that_resume_a_run_at_once_one_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    start(tmp_path, "train", "--out", str(out), "--observations", "256").communicate()
    about = yaml.safe_load((out / "config.yaml").read_text())
    about["config"]["run"]["observations"] = 20 * 256
    (out / "config.yaml").write_text(yaml.safe_dump(about))
    both = [start(tmp_path, "train", "--resume", str(out)) for _ in range(2)]
    errors = {process: process.communicate()[1] for process in both}
    assert sorted(process.returncode for process in both) == [0, 2], errors
    (refused,) = (process for process in both if process.returncode == 2)
    assert errors[refused] == f"rlgns: {out}: another process is training this run; stop it, or wait for its end\n"
    assert iterations(out) == list(range(1, 21))
    logged = [row["_step"] for path in sorted(out.glob("wandb/*run-*/*.wandb")) for row in history(path)]
    assert sorted(logged) == list(range(1, 21))
