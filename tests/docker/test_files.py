"""What is shipped for containers, as far as it can be told without a Docker engine (docker/check.sh does the rest)."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rlgns.submit.requirements import HEADLESS, missing_requirements

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"


def locked_versions() -> dict[str, str]:
    """Returns what the image holds, by name."""
    return dict(line.split("==") for line in (DOCKER / "requirements.txt").read_text().splitlines()[1:])


def test_the_lock_meets_every_requirement_of_the_project() -> None:
    locked = locked_versions()
    for text in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        version = locked.get(HEADLESS.get(name, name))
        assert version is not None, f"{text}: run docker/lock.py again"
        assert requirement.specifier.contains(version), f"{text}: locked {version}; run docker/lock.py again"


def test_a_cluster_of_the_image_lacks_nothing_that_a_job_would_install_first() -> None:
    locked = locked_versions()
    assert missing_requirements(locked) == []
    assert missing_requirements({name: locked[name] for name in locked if name not in HEADLESS.values()}) == [
        "opencv-python>=3.0"
    ]


def test_the_cuda_build_is_pinned_beside_the_lock_and_not_against_it() -> None:
    lines = [line for line in (DOCKER / "constraints-cuda.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = dict(line.split("==") for line in lines)
    assert {"nvidia-cudnn-cu13", "cuda-bindings", "triton"} <= set(pinned)
    assert not set(pinned) & set(locked_versions())


def test_the_dashboard_is_published_on_loopback_and_asks_for_a_token() -> None:
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text())
    assert compose["services"]["head"]["ports"] == ["${RLGNS_BIND:-127.0.0.1}:8265:8265"]
    for service in compose["services"].values():
        assert service["environment"]["RAY_AUTH_MODE"] == "${RAY_AUTH_MODE:-token}"
        assert "WANDB_API_KEY" not in service["environment"]
    assert not any("ports" in service for name, service in compose["services"].items() if name != "head")


def test_a_cluster_with_a_gpu_runs_one_image_and_not_the_cpus() -> None:
    """Two services that build different variants under one name leave whichever was built last."""
    services, gpu = (
        yaml.safe_load((DOCKER / name).read_text())["services"] for name in ("compose.yaml", "compose.gpu.yaml")
    )
    assert {name: service.get("image") for name, service in gpu.items()} == dict.fromkeys(
        services, "${RLGNS_IMAGE:-rlgns:cuda}"
    )
    for name, service in services.items():
        assert "build" not in service or gpu[name]["build"]["args"]["VARIANT"] == "cuda"


def test_everything_that_the_image_copies_is_in_its_context() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    packages = {
        package.split(".")[0]
        for package in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    }
    copied = set(re.findall(r"^COPY (?:--chmod=\S+ )?(docker/\S+)", (DOCKER / "Dockerfile").read_text(), re.MULTILINE))
    assert packages | copied | {"configs", "pyproject.toml", "README.md", "LICENSE"} == set(allowed)


def test_the_image_says_its_licences_and_its_user() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    assert 'licenses="MIT AND GPL-2.0-only"' in text
    assert text.rindex("USER 1000:1000") > text.rindex("RUN ")


def test_health_is_told_by_an_exit_code() -> None:
    """On this machine, whatever runs on it, a port at which nothing listens cannot be healthy."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ran = subprocess.run(
        [sys.executable, DOCKER / "healthy.py", str(port)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert len(ran.stdout.splitlines()) == 1
