"""Inner products of a few long vectors by torch's operations, for `rlgns.agents` and `rlgns.noise`."""

from __future__ import annotations

import torch
from torch import Tensor

COLUMNS_PER_CHUNK = 16_384
"""Columns per float32 product: rounding of 2e-7 at full speed (float64 takes twice the time)."""


def gram_on_device(rows: Tensor) -> Tensor:
    """Computes the inner products of all pairs of rows, in float64, on the device of the rows, without synchronising.

    Float64 input is multiplied in float64, and so is everything on an accelerator, where it costs next to nothing.
    Float32 and shorter input on a processor is multiplied in float32 by chunks of columns that are summed in float64.
    Neither autocast nor a lowered float32 matmul precision reaches the result.

    Args:
        rows: [count, columns].

    Returns:
        Float64 [count, count].

    Raises:
        ValueError: `rows` is not two-dimensional.
    """
    if rows.ndim != 2:
        raise ValueError(f"gradients must be [groups, parameters], got {rows.ndim} dimensions")
    rows = rows.detach()
    single = (
        rows.device.type == "cpu" and rows.dtype != torch.float64 and torch.get_float32_matmul_precision() == "highest"
    )
    dtype = torch.float32 if single else torch.float64
    total = torch.zeros(rows.shape[0], rows.shape[0], dtype=torch.float64, device=rows.device)
    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        whole = rows.shape[1] // COLUMNS_PER_CHUNK if single else 0
        if whole:  # one batched product: a loop over chunks would take longer than the products
            chunks = (
                rows[:, : whole * COLUMNS_PER_CHUNK].to(dtype).unflatten(1, (whole, COLUMNS_PER_CHUNK)).transpose(0, 1)
            )
            total += torch.bmm(chunks, chunks.transpose(1, 2)).sum(0, dtype=torch.float64)
        for chunk in rows[:, whole * COLUMNS_PER_CHUNK :].split(64 * COLUMNS_PER_CHUNK, dim=1):
            part = chunk.to(dtype)
            total += (part @ part.T).to(torch.float64)
    return total


ELEMENTS_PER_CHUNK = 1 << 20
"""Elements widened to float64 at a time."""


def inner(left: Tensor, right: Tensor) -> Tensor:
    """Computes the inner product of two tensors of one shape in float64, without a float64 copy of the whole.

    Returns:
        Float64 scalar on the tensors' device, which is not waited for.
    """
    total = torch.zeros((), dtype=torch.float64, device=left.device)
    pairs = zip(left.flatten().split(ELEMENTS_PER_CHUNK), right.flatten().split(ELEMENTS_PER_CHUNK), strict=True)
    for a, b in pairs:
        total += torch.dot(a.to(torch.float64), b.to(torch.float64))
    return total
