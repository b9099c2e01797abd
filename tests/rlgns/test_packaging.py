"""pyproject.toml and .gitignore agree with the folders: packages, version, pins, ignored files."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from rlgns import __version__

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for top in ("agents", "envs", "rlgns") for path in (ROOT / top).rglob("*.py")}
    assert len(folders) > 15
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_the_version_is_the_same_in_both_places() -> None:
    assert PROJECT["project"]["version"] == __version__


def test_what_decides_results_and_checks_is_pinned_exactly() -> None:
    requirements = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {re.split(r"[\[=<>]", requirement)[0] for requirement in requirements if "==" in requirement}
    assert {"torch", "ray", "gymnasium", "ale-py", "wandb", "ruff", "mypy", "pytest", "import-linter"} <= pinned


@pytest.mark.parametrize(
    "path", ["envs/vector.py", "agents/update.py", "rlgns/commands/cli.py", "configs/presets/ppo.yaml"]
)
def test_no_source_is_ignored(path: str) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "check-ignore", "--no-index", "-q", path]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 1
