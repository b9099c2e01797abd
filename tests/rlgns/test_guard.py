"""The start-up guard, with real packages that shadow ours on a path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlgns.guard import check_packages

ROOT = Path(__file__).resolve().parents[2]


def games_with_path(*folders: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs `rlgns games` in a process whose path has `folders` first, then ours."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*folders, ROOT)))}
    command = [sys.executable, "-m", "rlgns", "games"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)


def package(folder: Path, name: str) -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("raise SystemExit('the shadow was imported')\n")
    return folder


def test_our_own_packages_pass() -> None:
    check_packages()


@pytest.mark.parametrize("name", ["agents", "envs"])
def test_a_shadowing_package_is_named(name: str, tmp_path: Path) -> None:
    finished = games_with_path(package(tmp_path / "elsewhere", name), cwd=tmp_path)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.startswith(f"rlgns: package '{name}' is {tmp_path / 'elsewhere' / name}, which shadows")
    assert f"take {tmp_path / 'elsewhere'} off PYTHONPATH" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_a_shadowing_module_in_the_working_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "envs.py").write_text("")
    finished = games_with_path(cwd=tmp_path)
    assert finished.returncode == 2
    assert str(tmp_path / "envs.py") in finished.stderr
    assert "start rlgns from another folder" in finished.stderr


def test_a_folder_without_code_does_not_shadow(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    assert games_with_path(cwd=tmp_path).returncode == 0


def test_the_distribution_that_shadows_is_named(tmp_path: Path) -> None:
    site = package(tmp_path / "site-packages", "agents")
    metadata = site / "openai_agents-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: openai-agents\nVersion: 0.1\n")
    (metadata / "RECORD").write_text("agents/__init__.py,,\n")
    finished = games_with_path(site, cwd=tmp_path)
    assert finished.returncode == 2
    assert "(distribution openai-agents)" in finished.stderr
    assert "pip uninstall openai-agents" in finished.stderr


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "rlgns").symlink_to(ROOT / "rlgns")
    program = (
        "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p and p not in ('', '.')]; "
        f"sys.path.insert(0, {str(tmp_path)!r}); import rlgns.guard; "
        f"sys.path.remove({str(tmp_path)!r}); rlgns.guard.check_packages()"
    )
    finished = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert finished.stderr.splitlines()[-1].startswith("rlgns.errors.UserError: package 'envs' is missing beside rlgns")
