"""Wheel, source distribution and editable install: one import package beside any other `agents` or `envs`."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("LICENSE", "README.md", "agents", "configs", "envs", "pyproject.toml", "rlgns")
HAS_COMPILER = shutil.which("gcc") is not None and platform.machine() == "x86_64" and sys.platform == "linux"
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
NO_COMPILER = {**ENVIRONMENT, "CC": "false"}


def run(*command: str | Path, cwd: Path, environment: dict[str, str] = ENVIRONMENT) -> str:
    """Returns standard output; the error output of a command that fails fails the test."""
    ran = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def pip(python: Path | str, *arguments: str | Path, environment: dict[str, str] = ENVIRONMENT) -> None:
    """Runs the test environment's pip for a Python; builds use its setuptools, and nothing is downloaded."""
    command = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", *arguments]
    run(*command, "--no-index", "--no-deps", "--no-build-isolation", cwd=ROOT.parent, environment=environment)


def copy_of_sources(folder: Path) -> Path:
    """Copies what a build needs, so that nothing built before is reused and nothing is left in the checkout."""
    leftovers = shutil.ignore_patterns("__pycache__", "*.so")
    folder.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=leftovers)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def build_wheel(source: Path, folder: Path, *, environment: dict[str, str] = ENVIRONMENT) -> Path:
    pip(sys.executable, "wheel", "--wheel-dir", folder, source, environment=environment)
    (wheel,) = folder.glob("rlgns-*.whl")
    return wheel


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_sources(tmp_path_factory.mktemp("source") / "rlgns")


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))


def stand_in(package: str, folder: Path) -> Path:
    """Writes the wheel of a distribution that owns the import package `package`."""
    path = folder / f"stand_in_{package}-1.0-py3-none-any.whl"
    about = f"stand_in_{package}-1.0.dist-info"
    files = {
        f"{package}/__init__.py": "OWNER = 'stand-in'\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: stand-in-{package}\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{about}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def empty_environment(folder: Path) -> Path:
    """Makes a virtual environment that finds the test environment's distributions after its own; returns its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=ROOT.parent)
    (packages,) = folder.glob("lib/python*/site-packages")
    behind = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "test_environment.pth").write_text("\n".join(behind) + "\n")
    return folder / "bin" / "python"


def values_in(python: Path, expressions: Sequence[str]) -> list[str]:
    """Returns the values of expressions, as text, in an interpreter that has imported `agents`, `envs` and rlgns's."""
    imports = "import agents, envs, rlgns.agents.compute.team, rlgns.agents.update, rlgns.envs.games"
    script = "\n".join([imports, *(f"print({expression})" for expression in expressions)])
    return run(python, "-c", script, cwd=python.parent).splitlines()


def test_the_wheel_holds_every_module_and_data_file_and_no_package_but_rlgns(wheel: Path) -> None:
    names = names_in(wheel)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"rlgns"}
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "rlgns").rglob("*.py")}
    for link in ("agents", "envs"):  # rglob does not follow links
        modules |= {f"rlgns/{path.relative_to(ROOT)}" for path in (ROOT / link).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert {"rlgns/agents/update.py", "rlgns/agents/compute/native.py", "rlgns/envs/games.py"} <= modules
    assert "rlgns/py.typed" in names
    for pattern in ("rlgns/report/*.css", "rlgns/report/*.js"):
        found = {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)}
        assert found and found <= names
    configs = {str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*") if path.is_file()}
    assert {name.partition("share/rlgns/")[2] for name in names if "/data/share/" in name} == configs
    kernels = [name for name in names if name.startswith("rlgns/agents/_kernels")]
    assert len(kernels) == HAS_COMPILER


def test_a_wheel_runs_beside_distributions_that_own_agents_and_envs(wheel: Path, tmp_path: Path) -> None:
    python = empty_environment(tmp_path / "venv")
    pip(python, "install", stand_in("agents", tmp_path), stand_in("envs", tmp_path))
    pip(python, "install", wheel)
    found = values_in(python, ["agents.OWNER", "envs.OWNER", "rlgns.__file__", "rlgns.agents.update.__file__"])
    assert found[:2] == ["stand-in", "stand-in"]
    assert all(path.startswith(str(tmp_path / "venv")) for path in found[2:])
    rlgns = python.parent / "rlgns"
    assert run(rlgns, "--version", cwd=tmp_path).startswith("rlgns 0.")
    assert "pong" in run(rlgns, "games", cwd=tmp_path)
    assert "image_size: 64" in run(rlgns, "config", "--config", "quick", cwd=tmp_path)


def test_a_wheel_from_the_source_distribution_has_the_same_files_and_needs_no_compiler(
    source: Path, wheel: Path, tmp_path: Path
) -> None:
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    run(sys.executable, "-c", build, cwd=source)
    (archive,) = tmp_path.glob("rlgns-*.tar.gz")
    run("tar", "-xzf", archive, "-C", tmp_path, cwd=tmp_path)
    (unpacked,) = (path for path in tmp_path.glob("rlgns-*") if path.is_dir())
    assert not any(path.is_symlink() for path in unpacked.rglob("*"))
    kernels = {path.name for path in (ROOT / "agents" / "kernels").iterdir()}
    assert {path.name for path in (unpacked / "agents" / "kernels").iterdir()} == kernels
    rebuilt = build_wheel(unpacked, tmp_path / "wheel", environment=NO_COMPILER)
    assert names_in(rebuilt) == {name for name in names_in(wheel) if not name.endswith(".so")}


def test_an_editable_install_imports_through_the_links(source: Path, tmp_path: Path) -> None:
    python = empty_environment(tmp_path / "venv")
    pip(python, "install", stand_in("agents", tmp_path), stand_in("envs", tmp_path))
    pip(python, "install", "--editable", source, environment=NO_COMPILER)
    found = values_in(python, ["agents.OWNER", "envs.OWNER", "rlgns.agents.update.__file__"])
    assert found == ["stand-in", "stand-in", str(source / "rlgns" / "agents" / "update.py")]
