"""A run's folder: kills at any byte, and errors of the disk."""

from __future__ import annotations

import errno
import json
import math
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlgns.errors import FaultError, UserError
from rlgns.storage.files import create_atomically, plain, write_atomically
from rlgns.storage.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "out" / "pong")
    made.create({"run": {"games": ("pong",)}}, {"game": "pong", "wandb_id": "abc"})
    return made


def test_create_then_read_back(folder: RunFolder) -> None:
    assert folder.config() == {"run": {"games": ["pong"]}}
    assert folder.about() == {"game": "pong", "wandb_id": "abc"}
    assert folder.rows() == []
    assert folder.last_iteration() == 0
    assert folder.last_row() is None
    assert folder.checkpoints_path.is_dir()


def test_a_folder_with_a_run_is_not_overwritten(folder: RunFolder) -> None:
    with pytest.raises(UserError, match="already holds a run: continue it with --resume"):
        folder.create({}, {})
    assert folder.about()["wandb_id"] == "abc"


def test_nan_and_infinity_become_null(folder: RunFolder) -> None:
    folder.append(
        {"iteration": 1, "a": math.nan, "b": [math.inf, {"c": -math.inf}], "d": np.float32(0.5), "e": np.int64(3)}
    )
    text = folder.metrics_path.read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "iteration": 1,
        "a": None,
        "b": [None, {"c": None}],
        "d": 0.5,
        "e": 3,
    }


def test_kill_at_any_byte_of_the_last_line_loses_that_line_only(folder: RunFolder) -> None:
    for iteration in (1, 2):
        folder.append({"iteration": iteration, "text": "\u00e9\n"})
    kept = folder.metrics_path.stat().st_size
    folder.append({"iteration": 3, "text": "\u00e9\n"})
    content = folder.metrics_path.read_bytes()
    for size in range(kept, len(content)):
        folder.metrics_path.write_bytes(content[:size])
        assert folder.last_iteration() == 2
        assert folder.drop_torn_line() == size - kept
        assert folder.metrics_path.stat().st_size == kept
        folder.append({"iteration": 3, "text": "again"})
        assert [row["iteration"] for row in folder.rows()] == [1, 2, 3]
    folder.metrics_path.write_bytes(content)
    assert folder.drop_torn_line() == 0
    assert folder.last_iteration() == 3


def test_zeros_after_a_power_cut_are_dropped(folder: RunFolder) -> None:
    folder.append({"iteration": 1})
    with folder.metrics_path.open("ab") as file:
        file.write(b"\0" * 100 + b"\n")
    assert folder.last_iteration() == 1
    assert folder.drop_torn_line() == 101


def test_a_broken_line_in_the_middle_is_an_error(folder: RunFolder) -> None:
    folder.metrics_path.write_text('{"iteration": 1}\nnonsense\n{"iteration": 3}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2 is not a row of metrics"):
        folder.rows()


def test_find(folder: RunFolder, tmp_path: Path) -> None:
    RunFolder(tmp_path / "out" / "breakout").create({}, {"game": "breakout"})
    assert [run.path.name for run in RunFolder.find(tmp_path / "out")] == ["breakout", "pong"]
    assert [run.path.name for run in RunFolder.find(folder.path)] == ["pong"]
    with pytest.raises(UserError, match="no run found in"):
        RunFolder.find(tmp_path)
    with pytest.raises(UserError, match=r"cannot read .*nowhere: No such file or directory"):
        RunFolder.find(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["a: [", "just text", "run: 3"])
def test_unreadable_config_is_one_line(folder: RunFolder, text: str) -> None:
    folder.config_path.write_text(text)
    with pytest.raises(UserError) as raised:
        folder.about()
    assert str(folder.config_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_output_that_is_a_file_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*taken.*: (Not a directory|File exists)"):
        RunFolder(tmp_path / "taken" / "pong").create({}, {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_output_is_the_users_mistake(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"cannot write .*: Permission denied"):
        RunFolder(tmp_path / "pong").create({}, {})


def test_read_only_file_system_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match=r"cannot write /proc/.*: "):
        RunFolder(Path("/proc/pong")).create({}, {})


def test_full_disk_keeps_whole_rows_only(folder: RunFolder) -> None:
    """A limit on the file's size makes the kernel write part of a line and then refuse, as a full disk does."""
    folder.append({"iteration": 1})
    size = folder.metrics_path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
        with pytest.raises(FaultError, match=r"cannot write .*metrics\.jsonl: File too large"):
            folder.append({"iteration": 2, "text": "long enough"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert folder.metrics_path.stat().st_size == size
    assert folder.last_iteration() == 1


def test_atomic_write_leaves_the_old_file_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        with pytest.raises(OSError) as raised:  # noqa: PT011 - the number is checked below
            write_atomically(path, b"new" * 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert raised.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_plain_knows_other_types() -> None:
    assert plain({1: (Path("/a"), True, None)}) == {"1": ["/a", True, None]}


def test_a_run_is_locked_until_its_process_is_killed(folder: RunFolder) -> None:
    code = "from rlgns.storage.run_folder import *; "
    code += f"RunFolder({str(folder.path)!r}).lock(); print('has it', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"has it\n"
        with pytest.raises(UserError, match="another process is training this run"):
            folder.lock(patience_s=0)
        os.kill(other.pid, signal.SIGKILL)
    os.close(folder.lock(patience_s=0))
    os.close(folder.lock(patience_s=0))


def create_each(names: list[str], barrier: Any, won: Any) -> None:
    """Makes a run in each folder, at the same moment as the other processes; counts the successes in `won`."""
    for index, name in enumerate(names):
        barrier.wait()
        try:
            RunFolder(name).create({}, {"game": "pong", "pid": os.getpid()})
        except UserError:
            continue
        with won.get_lock():
            won[index] += 1


def test_of_processes_that_create_the_same_run_one_succeeds(tmp_path: Path) -> None:
    names = [str(tmp_path / str(number)) for number in range(40)]
    context = multiprocessing.get_context("spawn")
    barrier, won = context.Barrier(3), context.Array("i", len(names))
    processes = [context.Process(target=create_each, args=(names, barrier, won)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert list(won) == [1] * len(names)
    for name in names:
        assert RunFolder(name).about()["game"] == "pong"
        assert sorted(os.listdir(name)) == ["checkpoints", "config.yaml", "metrics.jsonl"]


def test_a_file_is_made_once_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    create_atomically(tmp_path / "file", b"first")
    with pytest.raises(FileExistsError):
        create_atomically(tmp_path / "file", b"second")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


def test_a_run_that_a_driver_has_claimed_is_refused_at_once_but_its_trial_may_lock_it(folder: RunFolder) -> None:
    code = "from rlgns.storage.run_folder import *; run = RunFolder(input())\n"
    code += "with run.claimed(): print('has it', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None and other.stdout is not None
        other.stdin.write(f"{folder.path}\n".encode())
        other.stdin.flush()
        assert other.stdout.readline() == b"has it\n"
        with pytest.raises(UserError, match="another process is training this run"), folder.claimed(patience_s=1e9):
            pytest.fail("claimed twice")
        os.close(folder.lock(patience_s=0))  # as the trial does
        os.kill(other.pid, signal.SIGKILL)
    with folder.claimed(patience_s=0):
        handle = folder.lock(patience_s=0)
    with pytest.raises(UserError, match="another process is training this run"), folder.claimed(patience_s=0):
        pytest.fail("claimed while a trial runs")
    os.close(handle)
