"""Wheel, source distribution and editable install: one import package beside any other `agents` or `envs`."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.packaging.installing import (
    NO_COMPILER,
    ROOT,
    build_wheel,
    empty_environment,
    names_in,
    pip,
    run,
    stand_in,
)

HAS_COMPILER = shutil.which("gcc") is not None and platform.machine() == "x86_64" and sys.platform == "linux"


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
