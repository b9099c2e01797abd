"""Device and precision of a learner, and the settings of its process."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

import torch

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
"""Options of mallopt, as in glibc's malloc.h."""

MOST_MMAP_THRESHOLD = 2**25
"""Bytes, the largest that glibc accepts. Larger blocks still come from the system one by one."""


def prepare_process(threads: int) -> None:
    """Sets torch up for this process. Call it before the first operation, since later threads inherit the mode.

    Flushes denormal numbers to zero: the squared gradients of units that hardly fire are denormal, and arithmetic on
    those is so slow on x86 that some iterations took several times as long. Also calls `keep_memory` and
    `round_nothing_to_tf32`.
    """
    torch.set_flush_denormal(True)
    keep_memory()
    round_nothing_to_tf32()
    torch.set_num_threads(threads)


def round_nothing_to_tf32() -> None:
    """Makes float32 mean float32 on a GPU too. Factors in TF32 keep 10 bits; torch lets cuDNN's convolutions use it.

    Chosen `float32`, the networks of the line search and the heads under bfloat16 all rely on this.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def keep_memory() -> None:
    """Lets glibc keep freed memory for the next step instead of returning it to the system; does nothing elsewhere.

    Every pass allocates activations of several megabytes and frees them. By default each allocation gets new, zeroed
    pages: 120 page faults per observation, a tenth of the time. The process stays as large as at its peak.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(M_MMAP_THRESHOLD, MOST_MMAP_THRESHOLD)
        set_option(M_TRIM_THRESHOLD, 2**31 - 1)
        set_option(M_TOP_PAD, 2**26)


def choose_device(name: str) -> torch.device:
    """Resolves `auto`, `cpu` or `cuda`. Raises ValueError where CUDA is requested and absent."""
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
