"""Which device and arithmetic this machine's learner uses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


def prepare_process(threads: int) -> None:
    """Sets torch up for this process; call before the first operation, since later threads inherit the mode.

    Flushes denormal numbers to zero: the squared gradients of units that hardly fire are denormal, and arithmetic on
    those is so slow on x86 that single iterations took several times as long.
    """
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)


def choose_device(name: str) -> torch.device:
    """Resolves `auto`, `cpu` or `cuda`. Raises ValueError where CUDA is asked for and absent."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("engine.device: cuda was asked for, but torch sees no CUDA device")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def has_bfloat16(device: torch.device) -> bool:
    """Says whether the device multiplies bfloat16 matrices in hardware (elsewhere it is emulated and slower)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check is not None)


def choose_precision(name: str, device: torch.device) -> str:
    """Resolves `auto` to `bfloat16` or `float32`."""
    if name != "auto":
        return name
    return "bfloat16" if has_bfloat16(device) else "float32"


@contextlib.contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """Runs the network's body in `precision`; weights, gradients and optimizer state stay float32."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        yield
