"""`rlgns train` as a user runs it: a separate process, real Ray, Tune, Atari and W&B offline."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml

from rlgns.config.load import to_dict
from rlgns.config.schema import Config
from rlgns.errors import UserError
from rlgns.monitor.wandb_transaction_log import history
from rlgns.storage.checkpoint import load, numbered
from rlgns.storage.run_folder import RunFolder
from rlgns.training import resume

TINY = {
    "run": {"observations": 100_000},
    "env": {"num_envs": 4, "image_size": 32, "stagger_steps": 4},
    "network": {"channels": [4], "kernels": [8], "strides": [8], "hidden": 16},
    "agent": {"rollout_steps": 64, "epochs": 1, "minibatches": 2},
    "engine": {"checkpoint_every_s": 1000},
    "output": {"log_every_s": 0},  # W&B gets every row
}


def start(
    tmp_path: Path, *arguments: str, own_group: bool = False, cwd: Path | None = None, **sections: dict[str, object]
) -> subprocess.Popen[str]:
    """Starts `rlgns ARGUMENTS` with the tiny configuration (unless it resumes); standard error is read line by line."""
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump({name: {**keys, **sections.get(name, {})} for name, keys in TINY.items()}))
    command = [sys.executable, "-m", "rlgns", *arguments]
    if "--resume" not in arguments:
        command += ["--config", str(config)]
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        process_group=0 if own_group else None,
        cwd=cwd,
    )


def until_a_row(process: subprocess.Popen[str]) -> None:
    """Reads standard error until a line reports an iteration."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if " observations, score" in line:
            return
    pytest.fail("training ended before its first iteration:\n" + "".join(seen))


def iterations(folder: Path) -> list[int]:
    return [row["iteration"] for row in RunFolder(folder).rows()]


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
        assert process.poll() is None
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
    about["config"]["run"]["observations"] = 100 * 256
    (out / "config.yaml").write_text(yaml.safe_dump(about))
    both = [start(tmp_path, "train", "--resume", str(out)) for _ in range(2)]
    errors = {process: process.communicate()[1] for process in both}
    assert sorted(process.returncode for process in both) == [0, 2], errors
    (refused,) = (process for process in both if process.returncode == 2)
    assert errors[refused] == f"rlgns: {out}: another process is training this run; stop it, or wait for its end\n"
    assert iterations(out) == list(range(1, 101))
    logged = [row["_step"] for path in sorted(out.glob("wandb/*run-*/*.wandb")) for row in history(path)]
    assert sorted(logged) == list(range(1, 101))
