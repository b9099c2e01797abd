"""The compiled kernels (agents/kernels/*.c): whether they can be used here, and how they are called with tensors."""

from __future__ import annotations

import ctypes
import functools
import importlib.machinery
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from rlgns.agents.buffers import Buffers

MOST_LAYERS = 8
"""Convolutions of a network, at most; as in passes.c."""

TOGETHER = 8
"""Images that the kernels compute at a time; as in convolution.h."""

_HERE = Path(__file__).resolve().parents[1]


def suits_processor() -> bool:
    """Says whether the kernels can run on this processor and are faster there than torch.

    They need AVX-512 with bfloat16, and use matrix registers (AMX) where they are there too.
    """
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


@functools.cache
def library() -> ctypes.CDLL | None:
    """Returns the kernels; None where they were not built or do not suit this processor.

    A library older than its sources is not used either: its functions' arguments may differ from those here.
    """
    if not suits_processor():
        return None
    newest = max((source.stat().st_mtime for source in (_HERE / "kernels").glob("*.[ch]")), default=0.0)
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = _HERE / f"_kernels{suffix}"
        try:
            if path.stat().st_mtime >= newest:
                kernels = ctypes.CDLL(str(path))
                kernels.scratch_size.restype = ctypes.c_int64
                return kernels
        except OSError:  # absent, or built for another system
            continue
    return None


@final
class Layer(ctypes.Structure):
    """A convolution's shape: square images, channels last."""

    _fields_ = [(name, ctypes.c_int64) for name in ("side", "in_", "kernel", "stride", "out_side", "out")]
    side: int
    in_: int
    kernel: int
    stride: int
    out_side: int
    out: int


@final
class Network(ctypes.Structure):
    """Shapes and packed weights of all convolutions."""

    _fields_ = [
        ("layers", ctypes.c_int64),
        ("stack", ctypes.c_int64),
        ("of", Layer * MOST_LAYERS),
        ("forward", ctypes.c_void_p * MOST_LAYERS),
        ("backward", ctypes.c_void_p * MOST_LAYERS),
        ("bias", ctypes.c_void_p * MOST_LAYERS),
    ]


@final
class Source(ctypes.Structure):
    """Where the frames of a rollout are in memory."""

    _fields_ = [("frames", ctypes.c_void_p), ("missing", ctypes.c_void_p), ("envs", ctypes.c_int64)]


def pointer(tensor: Tensor) -> ctypes.c_void_p:
    """Returns the address of a tensor that need not be contiguous."""
    return ctypes.c_void_p(tensor.data_ptr())


def call(name: str, *arguments: ctypes.Structure | ctypes.c_void_p | Tensor | int) -> int:
    """Calls a kernel without Python's lock. Tensors are passed by address and must be contiguous."""
    kernels = library()
    assert kernels is not None
    return int(getattr(kernels, name)(*[_c(argument) for argument in arguments]))


def address(tensor: Tensor) -> int:
    """Returns the address of a contiguous tensor."""
    assert tensor.is_contiguous()
    return tensor.data_ptr()


_buffers = Buffers()


def scratch(size: int) -> Tensor:
    """Returns `size` uninitialised bfloat16 numbers, valid until this thread's next call."""
    return _buffers("scratch", size, dtype=torch.bfloat16)


def _c(argument: ctypes.Structure | ctypes.c_void_p | Tensor | int) -> object:
    if isinstance(argument, Tensor):
        return ctypes.c_void_p(address(argument))
    if isinstance(argument, ctypes.c_void_p):
        return argument
    return ctypes.byref(argument) if isinstance(argument, ctypes.Structure) else ctypes.c_int64(argument)
