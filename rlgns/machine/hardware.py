"""The hardware of this machine: usable cores, memory, GPU, bfloat16. Saved with every run."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """The hardware that a run sees."""

    cpu: str
    """Model of the processor."""

    cores: int
    """Cores that this process may use, by affinity and the container's quota."""

    memory_gib: float
    """Memory that this process may use, GiB."""

    gpu: str
    """Name of the first GPU, or empty."""

    gpus: int
    """Number of GPUs."""

    bfloat16: bool
    """Whether the training device multiplies bfloat16 natively."""

    kernels: bool
    """Whether convolutions run on the compiled kernels (agents/kernels) instead of torch's operations."""

    def as_dict(self) -> dict[str, str | int | float | bool]:
        """Returns the fields as plain types."""
        return asdict(self)

    def describe(self) -> str:
        """Returns one line for people."""
        gpu = f"{self.gpus} x {self.gpu}" if self.gpus > 1 else self.gpu or "no GPU"
        bf16 = ("bfloat16, compiled kernels" if self.kernels else "bfloat16") if self.bfloat16 else "no bfloat16"
        return f"{self.cores} cores ({self.cpu}), {self.memory_gib:.0f} GiB memory, {gpu}, {bf16}"


def detect() -> Hardware:
    """Returns the hardware of this machine. Imports torch."""
    import torch

    from rlgns.agents.compute import native
    from rlgns.agents.compute.precision import choose_device, has_bfloat16

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Hardware(
        cpu=_cpuinfo("model name") or platform.processor() or platform.machine(),
        cores=usable_cores(),
        memory_gib=round(usable_memory() / 2**30, 1),
        gpu=torch.cuda.get_device_name(0) if gpus else "",
        gpus=gpus,
        bfloat16=has_bfloat16(choose_device("auto")),
        kernels=not gpus and native.library() is not None,
    )


def in_container() -> bool:
    """Returns whether this process runs in a container of Docker, Podman or Kubernetes."""
    return (
        Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() or "KUBERNETES_SERVICE_HOST" in os.environ
    )


def usable_cores() -> int:
    """Returns the cores that this process may use, at least 1: its affinity, or the container's quota (cgroup v2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        cores = min(cores, int(quota) // int(period))
    return max(1, cores)


def usable_memory() -> int:
    """Returns the bytes of memory that this process may use: the machine's, or the container's limit (cgroup v2)."""
    import psutil

    total = int(psutil.virtual_memory().total)
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    return min(total, int(limit)) if limit.isdigit() else total


def _cpuinfo(key: str) -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _read(path: str) -> str:
    """Returns the text of a small system file, empty where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
