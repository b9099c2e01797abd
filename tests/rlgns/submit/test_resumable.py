"""Jobs that a cluster starts again: the same command starts a run, then resumes it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlgns.commands import cli
from rlgns.commands.train import claim_folder
from rlgns.errors import UserError
from rlgns.storage.mirror import RunMirror
from rlgns.storage.mirror_restore import restore
from rlgns.storage.remote_folder import RemoteFolder
from rlgns.submit.resumable import resumable_entrypoint, resumed
from tests.rows import make_row, make_run

COMMAND = ["train", "--game", "pong", "--runners", "16"]


def test_the_same_command_starts_a_run_and_then_resumes_it(tmp_path: Path) -> None:
    out = tmp_path / "pong"
    command = [*COMMAND, "--learners=2", "--out", str(out)]
    assert resumed(command) == command
    out.mkdir()
    assert resumed(command) == command  # killed before there was a configuration
    make_run(out, [make_row(1)])
    assert resumed(command) == ["train", "--resume", str(out), "--runners=16", "--learners=2"]


def test_a_lost_folder_is_taken_from_the_mirror(tmp_path: Path) -> None:
    out, url = tmp_path / "pong", f"file://{tmp_path}/store"
    command = [*COMMAND, "--mirror", url, "--out", str(out)]
    assert resumed(command) == command  # nothing was trained yet
    run = make_run(out, [make_row(1), make_row(2)])
    mirror = RunMirror(run, RemoteFolder(url), kept=2)
    mirror.claim()
    mirror.copy()
    assert resumed(command) == ["train", "--resume", str(out), "--runners=16"]
    shutil.rmtree(out)
    again = ["train", "--resume", url, "--out", str(out), "--runners=16"]
    assert resumed(command) == again
    assert resumed([*COMMAND, f"--output.mirror={url}", "--out", str(out)]) == again
    # a retry that was itself cut off while it copied
    out.mkdir()
    restore(url, out)
    (out / ".restoring").write_text(url)
    assert resumed(command) == again
    assert cli.main(["train", "--resume", str(out)]) == 2
    claim_folder(out)
    assert not list(out.iterdir())
    restore(url, out)
    assert resumed(command) == ["train", "--resume", str(out), "--runners=16"]
    from_mirror = ["train", "--resume", url, "--out", str(out)]
    assert resumed(from_mirror) == ["train", "--resume", str(out)]  # it has been taken over before


def test_several_games_are_resumed_by_their_common_folder(tmp_path: Path) -> None:
    for game in ("pong", "breakout"):
        make_run(tmp_path / game, [make_row(1)])
    assert resumed(["train", "--game", "pong", "breakout", f"--out={tmp_path}"]) == ["train", "--resume", str(tmp_path)]


def test_what_runs_is_rlgns_with_that_command(tmp_path: Path) -> None:
    """A folder with a run that cannot be read: training would refuse to start in it, and resuming names its file."""
    (tmp_path / "config.yaml").write_text("[")
    command = [sys.executable, "-m", "rlgns.submit.resumable", *COMMAND, "--out", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("rlgns: ") and "config.yaml" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_the_line_means_the_same_in_every_shell() -> None:
    """KubeRay pastes it into the shell of a pod that lacks the variables of the nodes."""
    line = resumable_entrypoint([*COMMAND, "--run.name", "a b"], "/runs/pong")
    assert "$" not in line
    words = [*COMMAND, "--run.name", "a b", "--out", "/runs/pong"]
    assert shlex.split(line) == ["exec", "python", "-m", "rlgns.submit.resumable", *words]
    taken_over = resumable_entrypoint(["train", "--resume", "s3://bucket/pong"], "/runs/pong")
    assert taken_over.endswith(" -m rlgns.submit.resumable train --resume s3://bucket/pong --out /runs/pong")
    assert " -m rlgns train --resume /x" in resumable_entrypoint(["train", "--resume", "/x"], "/runs/pong")
    assert " -m rlgns sweep " in resumable_entrypoint(["sweep", "--config", "x"], "/runs/x")  # resumes by itself
    with pytest.raises(UserError, match="is relative"):
        resumable_entrypoint([*COMMAND, "--out", "runs/x"], "/runs/pong")


def test_options_that_survive_a_resume_are_those_that_resume_takes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "pong", [make_row(1)])
    words = resumed([*COMMAND, "--engine.learners", "1", "--noise.groups", "4", "--out", str(run.path)])
    assert words == ["train", "--resume", str(run.path), "--runners=16", "--engine.learners=1"]
    assert cli.main([*words, "--noise.groups", "4"]) == 2
