"""`rlgns train` in an ssh session that is closed: the terminal goes, the run is saved."""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import psutil
import yaml

from rlgns.storage.checkpoint import newest_whole
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.training_process import TINY, iterations


def test_a_closed_session_saves(tmp_path: Path) -> None:
    """The kernel itself sends SIGHUP, and every later write to the terminal fails. The working directory goes too."""
    config, out = tmp_path / "tiny.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(TINY))
    place = tmp_path / "place"
    place.mkdir()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "rlgns", "train", "--config", str(config), "--out", str(out)]
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "WANDB_MODE": "offline", "TERM": "xterm", "COLUMNS": "80"},
        cwd=place,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # its terminal, as sshd makes it
    )
    os.close(theirs)
    seen = b""
    while b"Critical batch" not in seen:  # the verdict, below the first row
        seen += os.read(ours, 10_000)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    place.rmdir()
    os.close(ours)
    assert process.wait() == 129
    done = iterations(out)
    assert done == list(range(1, len(done) + 1))
    assert newest_whole(out / "checkpoints") == done[-1]
    assert RunFolder(out).report_path.is_file()
    psutil.wait_procs(family, timeout=60)
    assert not [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
