"""Checks of the container files that need no Docker engine; docker/check.sh does the rest."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rlgns.submit.requirements import HEADLESS, missing_requirements

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"


def locked_versions() -> dict[str, str]:
    """Returns the versions of the image's distributions, by name."""
    return dict(line.split("==") for line in (DOCKER / "requirements.txt").read_text().splitlines()[1:])


def test_the_lock_meets_every_requirement_of_the_project() -> None:
    locked, project = locked_versions(), tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"] + project["optional-dependencies"]["train"]:
        requirement = Requirement(text)
        name = canonicalize_name(requirement.name)
        version = locked.get(HEADLESS.get(name, name))
        assert version is not None, f"{text}: run docker/lock.py again"
        assert requirement.specifier.contains(version), f"{text}: locked {version}; run docker/lock.py again"


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    locked = {canonicalize_name(name): version for name, version in locked_versions().items()}
    both = pinned.keys() & locked.keys()
    assert {"torch", "ray", "gymnasium", "ale-py", "wandb", "numpy"} <= both
    assert {name: pinned[name] for name in both} == {name: locked[name] for name in both}


def test_the_image_meets_all_requirements_of_a_job() -> None:
    locked = locked_versions()
    assert missing_requirements(locked) == []
    assert missing_requirements({name: locked[name] for name in locked if name not in HEADLESS.values()}) == [
        "opencv-python>=3.0"
    ]


def test_the_cuda_constraints_pin_only_what_the_lock_does_not() -> None:
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


def test_containers_of_the_cluster_can_gain_no_rights_and_write_only_where_they_must() -> None:
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    for service in services.values():
        assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {mount.partition(":")[0] for mount in service["tmpfs"]} == {"/tmp", "/home/rlgns"}
        assert all("exec" in re.split("[:,]", mount) for mount in service["tmpfs"])  # packages of jobs are loaded there
    check = (DOCKER / "check.sh").read_text()
    assert all(option in check for option in ("--read-only", "--cap-drop ALL", "no-new-privileges"))


def test_all_services_of_a_gpu_cluster_run_the_cuda_image() -> None:
    """Where two services build different variants under one image name, the last build wins."""
    services, gpu = (
        yaml.safe_load((DOCKER / name).read_text())["services"] for name in ("compose.yaml", "compose.gpu.yaml")
    )
    assert {name: service.get("image") for name, service in gpu.items()} == dict.fromkeys(
        services, "${RLGNS_IMAGE:-rlgns:cuda}"
    )
    for name, service in services.items():
        assert "build" not in service or gpu[name]["build"]["args"]["VARIANT"] == "cuda"


def test_the_build_context_holds_exactly_what_the_image_copies() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    linked = {path.resolve().name for path in (ROOT / "rlgns").iterdir() if path.is_symlink()}
    assert linked == {"agents", "envs"}
    copied = set(
        re.findall(r"^COPY (?:--chmod=\S+ )?((?:docker/)?\S+\.\S+) ", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    )
    assert linked | copied | {"configs", "rlgns", "pyproject.toml", "README.md", "LICENSE"} == set(allowed)


def test_the_image_names_its_licences_and_runs_as_a_user() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    assert 'licenses="MIT AND GPL-2.0-only"' in text
    assert text.rindex("USER 1000:1000") > text.rindex("RUN ")


def test_any_user_id_may_write_where_ray_keeps_its_token() -> None:
    text = (DOCKER / "Dockerfile").read_text()
    (open_to_all,) = re.findall(r"chmod 1777 (.+)", text)
    assert {"/home/rlgns", "/home/rlgns/.ray", "/home/rlgns/runs"} == set(open_to_all.split())
    check = (DOCKER / "check.sh").read_text()
    assert "--user 4321:4321" in check
    assert '"${confined[@]}" $image train' in check


@pytest.mark.parametrize("there", [False, True])
def test_the_heads_token_can_be_read_by_its_user_alone(tmp_path: Path, there: bool) -> None:
    """`rlgns-ray-node head` under the usual umask, with a `ray` that only says that it was called."""
    programs, token = tmp_path / "programs", tmp_path / "auth" / "auth_token"
    programs.mkdir()
    token.parent.mkdir()
    if there:
        token.write_text("f" * 64)
    (programs / "python").symlink_to(sys.executable)
    (programs / "ray").write_text('#!/bin/sh\necho "ray $*"\n')
    (programs / "ray").chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", "RAY_AUTH_MODE": "token"}
    ran = subprocess.run(
        ["sh", DOCKER / "ray-node.sh", "head"],
        env=environment | {"RAY_AUTH_TOKEN_PATH": str(token)},
        umask=0o022,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.startswith("ray start --disable-usage-stats --block ")
    assert "ask for the cluster's token" in ran.stderr
    assert len(token.read_text()) == 64
    assert list(token.parent.iterdir()) == [token]
    if there:
        assert token.read_text() == "f" * 64
    else:
        assert stat.S_IMODE(token.stat().st_mode) == 0o600


def test_the_health_check_exits_with_1_where_no_node_is_healthy() -> None:
    """Whatever else runs on this machine, a port without a listener is never healthy."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ran = subprocess.run(
        [sys.executable, DOCKER / "healthy.py", str(port)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert len(ran.stdout.splitlines()) == 1
