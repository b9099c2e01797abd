"""`rlgns train` as a user runs it: a separate process, real Ray, Tune, Atari and W&B offline."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
import yaml

from rlgns.storage.checkpoint import numbered
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.training_process import iterations, start, still_runs, until_a_row


def test_sigterm_saves_and_resume_extends_without_gap_or_overlap(tmp_path: Path) -> None:
    """The signal goes to the whole group, Ray's processes and W&B's: `timeout` and Slurm do that."""
    out = tmp_path / "run"
    process = start(tmp_path, "train", "--out", str(out), own_group=True)
    until_a_row(process)
    os.killpg(process.pid, signal.SIGTERM)
    stdout, stderr = process.communicate()
    assert process.returncode == 143, stderr
    assert "Traceback" not in stderr
    assert f"saved; resume with: rlgns train --resume {out}" in stderr
    assert "report:" in stdout
    done = iterations(out)
    assert done == list(range(1, len(done) + 1))
    assert (out / "report.html").is_file()

    about = yaml.safe_load((out / "config.yaml").read_text())
    with (out / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"game":"pong","iter')  # as a kill leaves it
    target = (len(done) + 3) * 256
    process = start(tmp_path, "train", "--resume", str(out), "--observations", str(target))
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert f"pong: shortened from 100,000 to {target:,} observations; the learning rate " in stderr
    assert f"pong: resumes from {len(done) * 256:,} observations\n" in stderr
    assert iterations(out) == list(range(1, len(done) + 4))
    rows = RunFolder(out).rows()
    assert [row["observations"] for row in rows] == [256 * number for number in range(1, len(rows) + 1)]
    assert rows[-1]["noise/updates"] > rows[len(done) - 1]["noise/updates"]
    ids = {path.name.rsplit("-", 1)[-1] for path in (out / "wandb").glob("offline-run-*")}
    assert ids == {about["run"]["wandb_id"]}

    process = start(tmp_path, "train", "--resume", str(out))  # nothing is left to do
    process.communicate()
    assert process.returncode == 0
    assert len(iterations(out)) == len(done) + 3


def test_two_games_are_two_trials_with_a_folder_each(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    process = start(
        tmp_path,
        "train",
        "--game",
        "pong",
        "breakout",
        "--out",
        str(out),
        "--observations",
        "512",
        "--wandb.mode",
        "disabled",
    )
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    for game in ("pong", "breakout"):
        assert iterations(out / game) == [1, 2]
        assert game in stdout
    assert (out / "report.html").is_file()


@pytest.mark.parametrize(
    ("layout", "killed"),
    [
        ((), "AtariPPO"),
        # a learner of two, while the next rollout is played ahead; Ray names it so
        pytest.param(
            ("--runners", "1", "--learners", "2", "--async-lag", "1"), "_WrappedExecutable", marks=pytest.mark.cluster
        ),
    ],
)
def test_a_trial_restarts_by_itself_when_it_or_a_learner_is_killed(
    tmp_path: Path, layout: tuple[str, ...], killed: str
) -> None:
    out = tmp_path / "run"
    every = ("--engine.checkpoint_every_s", "0")
    process = start(tmp_path, "train", "--out", str(out), "--wandb.mode", "disabled", *every, *layout)
    until_a_row(process)
    victims = [
        child for child in psutil.Process(process.pid).children(recursive=True) if killed in " ".join(child.cmdline())
    ]
    assert len(victims) == (2 if layout else 1)
    while len(numbered(out / "checkpoints")) < 2:
        assert still_runs(process)
    victims[-1].kill()
    psutil.wait_procs(victims[-1:])
    if not layout:  # nothing of the run is left but the driver, until Ray has started another trial
        (numbered(out / "checkpoints")[-1] / "state.pt").write_bytes(b"torn")
    assert process.stderr is not None
    assert any("from its newest checkpoint" in line for line in process.stderr)
    if not layout:
        assert any("is torn or not a checkpoint" in line and "is used instead" in line for line in process.stderr)
    until_a_row(process)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    done = iterations(out)
    assert done == list(range(1, len(done) + 1))


@pytest.mark.parametrize(
    ("wandb", "size", "every"), [("disabled", "192k", "0"), ("offline", "400k", "0"), ("disabled", "64k", "1000")]
)
def test_a_full_disk_ends_the_run_with_its_cause_and_what_is_lost(
    tmp_path: Path, wandb: str, size: str, every: str
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        out = small / "run"
        options = ("--wandb.mode", wandb, "--engine.checkpoint_every_s", every)
        process = start(tmp_path, "train", "--out", str(out), *options)
        stdout, stderr = process.communicate()
        assert process.returncode == 3, stderr
        assert "Traceback" not in stderr
        assert "No space left on device" in stderr
        assert f"resume from the newest checkpoint with: rlgns train --resume {out}" in stderr
        assert "critical batch" in stdout
        done = iterations(out)
        assert done == list(range(1, len(done) + 1))
        if every != "0":
            assert f"No space left on device; no whole checkpoint holds iterations 1 to {len(done)}\n" in stderr
        assert all(json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines())
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_folder_that_is_removed_during_training_is_a_fault(tmp_path: Path) -> None:
    """With all of the working directory that it is in."""
    place = tmp_path / "place"
    place.mkdir()
    process = start(tmp_path, "train", "--out", "run", cwd=place)
    until_a_row(process)
    shutil.rmtree(place, ignore_errors=True)
    process.send_signal(signal.SIGINT)  # where the trial has not noticed yet
    _, stderr = process.communicate()
    assert process.returncode == 3, stderr
    assert "rlgns: pong: run was removed during training" in stderr
    assert "Traceback" not in stderr
    assert "--resume" not in stderr


def test_an_interrupt_that_cannot_be_saved_is_a_fault(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(tmp_path, "train", "--out", str(out), "--wandb.mode", "disabled")
    until_a_row(process)
    (out / "checkpoints").rmdir()
    (out / "checkpoints").write_text("no folder can be made here")
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 3, stderr
    assert "no whole checkpoint holds iterations 1 to " in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine.device", "cuda"], "CUDA"),
        (["--env.image_size", "8", "--network.kernels", "9"], "too small"),
        (["--agent.minibatches", "3"], "agent.minibatches must divide env.num_envs"),
        (["--agent.minibatches", "4"], "at least 2 environments"),
    ],
)
def test_what_cannot_work_fails_before_anything_is_written(tmp_path: Path, arguments: list[str], words: str) -> None:
    out = tmp_path / "run"
    process = start(tmp_path, "train", "--out", str(out), *arguments)
    _, stderr = process.communicate()
    assert process.returncode == 2
    assert words in stderr
    assert stderr.count("\n") == 1
    assert not out.exists()
