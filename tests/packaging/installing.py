"""Builds of rlgns and environments to install them into; nothing is downloaded."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("LICENSE", "README.md", "agents", "configs", "envs", "pyproject.toml", "rlgns")
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


def bare_environment(folder: Path) -> Path:
    """Makes a virtual environment without any distribution; returns its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=ROOT.parent)
    return folder / "bin" / "python"


def packages_of(python: Path) -> Path:
    """Returns the folder of an environment's distributions."""
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    return packages


def empty_environment(folder: Path) -> Path:
    """Makes a virtual environment that finds the test environment's distributions after its own; returns its Python."""
    python = bare_environment(folder)
    behind = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages_of(python) / "test_environment.pth").write_text("\n".join(behind) + "\n")
    return python


def link_distribution(name: str, packages: Path) -> None:
    """Links a distribution of the test environment, and all that it requires, into a folder of distributions."""
    found = importlib.metadata.distribution(name)
    tops = {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}
    if all((packages / top).exists() for top in tops):
        return
    for top in tops:
        if not (packages / top).exists():
            (packages / top).symlink_to(str(found.locate_file(top)))
    for requirement in map(Requirement, found.requires or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            link_distribution(requirement.name, packages)
