"""Folders for running processes: private, removed with their owner, and after a kill by the next start."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rlgns.storage.scratch import LONGEST, remove_abandoned, scratch_folder, scratch_place

OWNER = """
import sys
from rlgns.storage.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "ray").mkdir()
    (folder / "ray" / "log").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("rlgns.storage.scratch.scratch_place", lambda environment: tmp_path)
    return tmp_path


def test_a_scratch_folder_is_private_and_goes_with_its_block(place: Path) -> None:
    with scratch_folder() as folder:
        assert folder.parent == place
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "ray").mkdir()
        assert remove_abandoned(place) == []  # it is in use
        assert folder.is_dir()
    assert list(place.iterdir()) == []


def test_the_next_start_removes_what_a_killed_process_left_and_nothing_else(tmp_path: Path) -> None:
    others = ("rlgns-shared", "rlgns-notes.txt", "something")
    (tmp_path / others[0]).mkdir()  # not ours, whatever its name
    (tmp_path / others[1]).touch()
    (tmp_path / others[2]).mkdir()
    script = f"import rlgns.storage.scratch as s; s.scratch_place = lambda _: s.Path({str(tmp_path)!r})\n{OWNER}"
    running = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    killed, alive = (Path((process.stdout or sys.stdin).readline().strip()) for process in running)
    try:
        assert remove_abandoned(tmp_path) == []
        running[0].send_signal(signal.SIGKILL)
        running[0].wait()
        assert (killed / "ray" / "log").is_file()
        assert remove_abandoned(tmp_path) == [killed]
        assert (alive / "ray" / "log").is_file()
        running[1].communicate("")
        assert running[1].returncode == 0
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_the_place_leaves_room_for_rays_sockets() -> None:
    long = "/" + "x" * LONGEST
    assert scratch_place({}) == Path("/tmp")
    assert scratch_place({"TMPDIR": "/scratch/job"}) == Path("/scratch/job")
    assert scratch_place({"TMPDIR": "/scratch/job", "RAY_TMPDIR": "/fast"}) == Path("/fast")
    assert scratch_place({"TMPDIR": "/scratch/job", "RAY_TMPDIR": long}) == Path("/scratch/job")
    assert scratch_place({"TMPDIR": long}) == Path("/tmp")
    socket = f"{long[:LONGEST]}/rlgns-abcdefgh/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
    assert len(socket) <= 107
