"""Inner products of a few long vectors, and their mean: what is computed of groups' gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from agents import native
from agents.flat import elements, mean_in_place
from agents.team import Team

COLUMNS_PER_CHUNK = 16_384
"""Columns per float32 product by torch: rounding of 2e-7 at full speed (float64 takes twice the time)."""


def inner_products(rows: Tensor) -> Tensor:
    """Inner products of rows, in float64 and where the rows are: nothing waits for the device.

    Float64 input is multiplied in float64, and so is everything on an accelerator, where it costs next to nothing.
    Float32 and shorter input on a processor is multiplied in float32 by chunks of columns that are summed in float64,
    by a compiled kernel where there is one. Neither autocast nor a lowered float32 matmul precision reaches the result.

    Args:
        rows: [count, columns].

    Returns:
        Float64 [count, count].
    """
    rows = rows.detach()
    if _suits_kernel(rows):
        return _by_kernel(rows, mean=False)
    single = (
        rows.device.type == "cpu" and rows.dtype != torch.float64 and torch.get_float32_matmul_precision() == "highest"
    )
    dtype = torch.float32 if single else torch.float64
    total = torch.zeros(rows.shape[0], rows.shape[0], dtype=torch.float64, device=rows.device)
    with torch.no_grad(), torch.autocast(rows.device.type, enabled=False):
        whole = rows.shape[1] // COLUMNS_PER_CHUNK if single else 0
        if whole:  # one batched product: a loop over chunks would take longer than the products themselves
            chunks = (
                rows[:, : whole * COLUMNS_PER_CHUNK].to(dtype).unflatten(1, (whole, COLUMNS_PER_CHUNK)).transpose(0, 1)
            )
            total += torch.bmm(chunks, chunks.transpose(1, 2)).sum(0, dtype=torch.float64)
        for chunk in rows[:, whole * COLUMNS_PER_CHUNK :].split(64 * COLUMNS_PER_CHUNK, dim=1):
            part = chunk.to(dtype)
            total += (part @ part.T).to(torch.float64)
    return total


def products_and_mean_(rows: Tensor, team: Team) -> Tensor:
    """Returns the rows' inner products as above, and replaces the first row by the mean of all, summed in order.

    The team's threads share the columns; the result is the same to the last bit whatever their number. With the kernel
    memory is read once for both, so that products beside a mean cost next to nothing.
    """
    total = rows.shape[1]

    def work(parts: range) -> list[Tensor]:
        found = []
        for part in parts:
            mine = rows[:, elements(total, range(part, part + 1))]
            if _suits_kernel(mine):
                found.append(_by_kernel(mine, mean=True))
            else:
                found.append(inner_products(mine))
                mean_in_place(mine)
        return found

    return torch.stack([products for done in team.map_parts(work) for products in done]).sum(0)


def _suits_kernel(rows: Tensor) -> bool:
    in_memory = rows.device.type == "cpu" and rows.dtype == torch.float32 and rows.shape[1] > 0 and rows.stride(1) == 1
    return in_memory and native.library() is not None


def _by_kernel(rows: Tensor, *, mean: bool) -> Tensor:
    products = torch.empty(len(rows), len(rows), dtype=torch.float64)
    native.call("inner_products", native.at(rows), rows.stride(0), len(rows), rows.shape[1], products, mean)
    return products
