"""The hardware of this machine, and a container's limits."""

from __future__ import annotations

import pytest

from rlgns.machine import hardware


def test_this_machine() -> None:
    found = hardware.detect()
    assert found.cores >= 1
    assert found.memory_gib > 0
    assert str(found.cores) in found.describe()
    assert found.as_dict()["gpus"] == found.gpus


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000\n", 64), ("200000 100000\n", 2), ("50000 100000\n", 1), ("9900000 100000\n", 64), ("", 64)],
)
def test_a_containers_quota_limits_the_cores(quota: str, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda pid: set(range(64)))
    monkeypatch.setattr(hardware, "_read", lambda path: quota)
    assert hardware.usable_cores() == cores


def test_a_containers_limit_cuts_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_read", lambda path: "max\n")
    whole = hardware.usable_memory()
    monkeypatch.setattr(hardware, "_read", lambda path: f"{whole // 2}\n")
    assert hardware.usable_memory() == whole // 2
