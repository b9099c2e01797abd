"""What keeps a GPU from being used, or used well: torch's build, the driver, too few cores."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlgns.machine.hardware import in_container

CORES_PER_GPU = 8
"""Below this the emulators are far behind: a core plays roughly 2,000 observations per second, a learner on a GPU takes
tens of thousands."""

DRIVERS = {11: (450, 80, 2), 12: (525, 60, 13), 13: (580, 65, 6)}
"""Oldest Linux driver of each major version of CUDA (CUDA Toolkit release notes, "minor version compatibility")."""

DRIVER_FILE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuFacts:
    """What torch and the system say."""

    built_for: str | None
    """CUDA version of torch's build; None: it is built for the CPU."""
    usable: int
    """GPUs that torch can use."""
    capability: tuple[int, int] | None
    """Compute capability of the first of them."""
    architectures: tuple[str, ...]
    """That torch is built for, such as sm_90 (machine code) and compute_90 (compiled for the device when used)."""
    driver: str
    """Version, or empty."""
    has_tool: bool
    """Whether nvidia-smi is there."""
    cores: int


def gpu_facts(cores: int) -> GpuFacts:
    """Returns this machine's. Imports torch."""
    import torch

    usable = torch.cuda.device_count() if torch.cuda.is_available() else 0
    version = re.search(r"Kernel Module\D*(\d+(?:\.\d+)+)", DRIVER_FILE.read_text()) if DRIVER_FILE.exists() else None
    return GpuFacts(
        built_for=torch.version.cuda,
        usable=usable,
        capability=torch.cuda.get_device_capability(0) if usable else None,
        architectures=tuple(torch.cuda.get_arch_list()) if usable else (),
        driver=version[1] if version else "",
        has_tool=shutil.which("nvidia-smi") is not None,
        cores=cores,
    )


def gpu_remedy(facts: GpuFacts) -> str:
    """Returns one line that says what is wrong and what helps; empty where nothing is, or there is no GPU."""
    if not facts.usable:
        return _unusable(facts)
    if facts.capability is not None and not _built_for(facts.capability, facts.architectures):
        name = "sm_{}{}".format(*facts.capability)
        return f"this torch has no code for the GPU's architecture {name}: install a build that has it"
    if facts.cores < CORES_PER_GPU * facts.usable:
        return (
            f"{facts.cores} cores for {_counted(facts.usable)}: the emulators will be slower than the GPU by far; "
            f"{CORES_PER_GPU} cores or more for each are useful, or remote runners (--runners)"
        )
    return ""


def _unusable(facts: GpuFacts) -> str:
    there = bool(facts.driver) or facts.has_tool
    if there and facts.built_for is None:
        return "there may be a GPU, but this torch is built for the CPU: install the CUDA build"
    if facts.driver and facts.built_for is not None:
        oldest = DRIVERS.get(int(facts.built_for.split(".")[0]))
        if oldest and tuple(map(int, facts.driver.split("."))) < oldest:
            needed = ".".join(map(str, oldest))
            return (
                f"the NVIDIA driver {facts.driver} is too old for this torch (CUDA {facts.built_for}): update it to "
                f"{needed} or newer, or install a torch for an older CUDA"
            )
    if there:
        return f"there may be a GPU, but this torch (CUDA {facts.built_for}) cannot use it: see what nvidia-smi says"
    if facts.built_for is not None and in_container():
        return "this torch is built for CUDA: start the container with --gpus all if the host has a GPU"
    return ""


def _built_for(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Machine code runs on its architecture and later minor versions; intermediate code on all later ones."""
    for name in architectures:
        kind, _, digits = name.partition("_")
        number = re.match(r"\d+", digits)
        if number is None:
            continue
        major, minor = divmod(int(number[0]), 10)
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
        if kind == "compute" and (major, minor) <= capability:
            return True
    return False


def _counted(gpus: int) -> str:
    return "a GPU" if gpus == 1 else f"{gpus} GPUs"
