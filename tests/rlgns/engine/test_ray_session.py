"""A private Ray: who can reach it, what remains of it, and what a run does when it dies. One real training."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from benchmarks.kills_run import ROOT, settings
from rlgns.engine.ray_session import keep_token_private
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.training_process import still_runs

PATIENCE_S = 600


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as name:
        yield Path(name)


def readable_by_others(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def listening_beyond_loopback(family: list[psutil.Process]) -> list[tuple[str, str, int]]:
    """Returns process, address and port of every socket that another machine could reach."""
    local = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
    return [
        (process.name(), socket.laddr.ip, socket.laddr.port)
        for process in family
        for socket in process.net_connections()
        if socket.status == psutil.CONN_LISTEN and socket.laddr.ip not in local
    ]


@pytest.mark.parametrize(
    ("killed", "layout"),
    [
        ("raylet", {"runners": 1, "learners": 2}),
        pytest.param("gcs_server", {"runners": 0}, marks=pytest.mark.cluster),
    ],
)
def test_a_private_ray_is_this_users_alone_and_its_death_ends_the_run(
    tmp_path: Path, short_folder: Path, killed: str, layout: dict[str, int]
) -> None:
    config, folder = tmp_path / "small.yaml", RunFolder(tmp_path / "run")
    config.write_text(yaml.safe_dump(settings(100_000) | {"engine": layout, "wandb": {"mode": "disabled"}}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(short_folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "rlgns", "train", "--config", str(config), "--out", str(folder.path)]
    driver = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    family = []
    try:
        while not (folder.metrics_path.is_file() and folder.metrics_path.stat().st_size):
            assert still_runs(driver), driver.stderr and driver.stderr.read()
        family = [psutil.Process(driver.pid), *psutil.Process(driver.pid).children(recursive=True)]
        learners = [process for process in family if "_WrappedExecutable" in " ".join(process.cmdline())]
        assert len(learners) == layout.get("learners", 0)
        assert not [process for process in family if "monitor.py" in " ".join(process.cmdline())]
        assert listening_beyond_loopback(family) == []
        assert not readable_by_others(tmp_path / ".ray" / "auth_token")
        (scratch,) = short_folder.glob("rlgns-*")
        assert not readable_by_others(scratch)
        (process,) = [process for process in family if process.name() == killed]
        process.kill()
        _, errors = driver.communicate(timeout=PATIENCE_S)
    finally:
        driver.kill()
    assert driver.returncode == 3, errors
    assert f"process ({killed})" in errors
    assert f"resume from the newest checkpoint with: rlgns train --resume {folder.path}" in errors
    assert "another node has room" not in errors
    assert "Traceback" not in errors
    assert not list(short_folder.glob("rlgns-*"))
    assert psutil.wait_procs(family, timeout=PATIENCE_S)[1] == []


@pytest.mark.parametrize("there", [False, True])
def test_rays_token_is_not_readable_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    token = tmp_path / ".ray" / "auth_token"
    if there:  # as Ray makes it under the usual umask
        token.parent.mkdir()
        token.write_text("f" * 64)
        token.chmod(0o644)
    keep_token_private(token)
    content = token.read_text()
    assert len(content) == 64
    assert there == (content == "f" * 64)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    keep_token_private(token)
    assert token.read_text() == content


def test_a_token_that_a_variable_names_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "x"), ("RAY_AUTH_TOKEN_PATH", "x")):
        with monkeypatch.context() as patch:
            for other in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
                patch.delenv(other, raising=False)
            patch.setenv(name, value)
            keep_token_private(tmp_path / ".ray" / "auth_token")
    assert list(tmp_path.iterdir()) == []
