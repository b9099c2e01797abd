"""The doctor: real checks on this machine, and each failure that can be provoked here."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rlgns.agents.compute import native
from rlgns.commands import cli
from rlgns.machine import doctor, gpu_check, hardware
from rlgns.machine.doctor import FAIL, OK, WARN
from rlgns.machine.requirements import COMPARED, trainer_requirements

NO_GPU = hardware.Hardware(cpu="any", cores=2, memory_gib=8.0, gpu="", gpus=0, bfloat16=True, kernels=True)


def test_every_check_has_one_line_and_none_breaks(tmp_path: Path) -> None:
    findings = list(doctor.check_machine(tmp_path / "runs"))
    names = ["python", "versions", "memory", "shm", "user", "home", "folder", "ports", "roms", "torch", "wandb"]
    assert [finding.name for finding in findings] == names
    for finding in findings:
        assert finding.status in (OK, WARN, FAIL)
        assert "\n" not in finding.describe()
        assert "the check itself failed" not in finding.text
        assert finding.status == OK or finding.remedy


def test_the_versions_that_change_a_run_are_named() -> None:
    finding = doctor.check_versions()
    assert finding.status == OK
    assert [part.split()[0] for part in finding.text.split(", ")] == list(COMPARED)
    assert set(COMPARED) <= {requirement.name for requirement in trainer_requirements()}


def test_a_version_that_is_not_allowed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = [
        "torch==0.0.1",
        "ray[rllib]<0.0.2; extra == 'train'",
        "nothing-of-this-name==1; python_version>'3'",
        "nothing-of-another-extra==1; extra == 'dev'",
        "numpy>=2",
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed)
    finding = doctor.check_versions()
    assert finding.status == FAIL
    assert finding.text.count(" where ") == 3
    assert "where ==0.0.1 is needed" in finding.text
    assert "where <0.0.2 is needed" in finding.text
    assert "nothing-of-this-name missing where ==1 is needed" in finding.text


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    assert doctor.check_folder(tmp_path / "not" / "there").status == OK
    finding = doctor.check_folder(Path("/proc/rlgns"))
    assert finding.status == FAIL
    assert "--out" in finding.remedy
    (tmp_path / "file").touch()
    assert doctor.check_folder(tmp_path / "file" / "runs").status == FAIL


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home folder, with .ray in it, which every user can reach; no variable says where Ray's token is."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        monkeypatch.setenv("HOME", made)
        (Path(made) / ".ray").mkdir()
        Path(made).chmod(0o755)
        yield Path(made)


def test_a_home_where_ray_can_keep_its_token(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_home() == doctor.Finding(name="home", status=OK, text=f"{home}/.ray can be written")
    (home / ".ray" / "auth_token").write_text("token")
    assert doctor.check_home().text == f"{home}/.ray/auth_token can be read"
    monkeypatch.setenv("HOME", str(home / "not" / "there"))
    assert doctor.check_home().text == f"{home} can be written"


def test_a_home_where_ray_cannot_make_its_token(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".ray").rmdir()
    (home / ".ray").touch()
    finding = doctor.check_home()
    assert (finding.status, finding.remedy) == (FAIL, "let HOME name a folder that this user can write")
    assert f"{home}/.ray" in finding.text
    monkeypatch.setenv("HOME", "/proc")
    assert doctor.check_home().status == FAIL
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert doctor.check_home().status == OK


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("mode", "status"), [(0o755, FAIL), (0o1777, OK)])
def test_another_user_than_the_owner_of_the_home(home: Path, mode: int, status: str) -> None:
    (home / ".ray").chmod(mode)
    os.seteuid(4321)
    try:
        finding = doctor.check_home()
    finally:
        os.seteuid(0)
    assert finding.status == status
    assert status == OK or "Permission denied" in finding.text


def test_a_port_in_use_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(doctor, "_RAY_PORTS", {server.getsockname()[1]: "dashboard"})
        finding = doctor.check_ports()
    assert finding.status == WARN
    assert "(dashboard)" in finding.text


def test_missing_roms_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    finding = doctor.check_roms()
    assert finding.status == FAIL
    assert "pong" in finding.text
    assert finding.remedy == "unset ALE_ROMS_DIR"


def test_a_check_that_breaks_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> doctor.Finding:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(doctor, "check_torch", broken)
    finding = next(finding for finding in doctor.check_machine(tmp_path) if finding.name == "torch")
    assert finding.status == FAIL
    assert finding.text == "the check itself failed: RuntimeError: two lines"


@pytest.mark.parametrize(
    ("cuda", "tool", "container", "remedy"),
    [
        (None, True, False, "install the CUDA build"),
        ("13.0", True, True, "this torch (CUDA 13.0) cannot use it"),
        ("13.0", False, True, "--gpus all"),
        ("13.0", False, False, ""),  # what pip installs on a laptop
        (None, False, True, ""),
    ],
)
def test_a_gpu_that_torch_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuda: str | None, tool: bool, container: bool, remedy: str
) -> None:
    monkeypatch.setattr(hardware, "detect", lambda: NO_GPU)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(gpu_check, "DRIVER_FILE", tmp_path / "none")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if tool else None)
    monkeypatch.setattr(gpu_check, "in_container", lambda: container)
    finding = doctor.check_torch()
    assert (finding.status, remedy in finding.remedy) == (WARN if remedy else OK, True)


@pytest.mark.parametrize(("suits", "remedy"), [(True, "apt install gcc"), (False, "")])
def test_missing_kernels_are_a_warning_where_the_processor_suits_them(
    monkeypatch: pytest.MonkeyPatch, suits: bool, remedy: str
) -> None:
    monkeypatch.setattr(hardware, "detect", lambda: dataclasses.replace(NO_GPU, kernels=False))
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(native, "suits_processor", lambda: suits)
    finding = doctor.check_torch()
    assert (finding.status, remedy in finding.remedy) == (WARN if suits else OK, True)


def test_the_command_says_how_many_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--out", "/proc/rlgns"]) == 2
    output = capsys.readouterr()
    assert "fail  folder" in output.out
    assert output.err == "rlgns: 1 of 11 checks failed; their remedies are above\n"
