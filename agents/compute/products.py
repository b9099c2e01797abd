"""Inner products and mean of a few long vectors, the groups' gradients."""

from __future__ import annotations

import torch
from torch import Tensor

from rlgns.agents.compute import native
from rlgns.agents.compute.flat_gradients import elements, mean_in_place
from rlgns.agents.compute.team import Team
from rlgns.gram import gram_on_device


def inner_products(rows: Tensor) -> Tensor:
    """Computes the inner products of all pairs of rows, by the compiled kernel where it is available, else by torch.

    Both multiply in float32 and sum chunks of columns in float64.

    Args:
        rows: [count, columns].

    Returns:
        Float64 [count, count], on the rows' device.
    """
    rows = rows.detach()
    return _by_kernel(rows, mean=False) if _suits_kernel(rows) else gram_on_device(rows)


def products_and_mean_(rows: Tensor, team: Team) -> Tensor:
    """Returns the rows' inner products as above, and replaces the first row by the mean of all, summed in order.

    The team's threads share the columns; no bit of the result depends on their number, as long as torch's operations
    are single-threaded in a caller that works alone. The kernel reads memory once for both, so that products along with
    a mean cost next to nothing.
    """
    total = rows.shape[1]
    if rows.device.type != "cpu":  # one thread, and parts would be launched one by one
        products = inner_products(rows)
        mean_in_place(rows)
        return products

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


def products_of_both(first: Tensor, second: Tensor, team: Team) -> Tensor:
    """Computes the inner products of all rows of two matrices [count, columns]; the team's threads share the columns.

    Returns:
        Float64 [2 count, 2 count], the first matrix's rows before the second's.
    """
    total = first.shape[1]
    if first.device.type != "cpu":
        return inner_products(torch.cat([first, second]))

    def work(parts: range) -> list[Tensor]:
        each = [elements(total, range(part, part + 1)) for part in parts]
        return [inner_products(torch.cat([first[:, mine], second[:, mine]])) for mine in each]

    return torch.stack([products for done in team.map_parts(work) for products in done]).sum(0)


def _suits_kernel(rows: Tensor) -> bool:
    in_memory = rows.device.type == "cpu" and rows.dtype == torch.float32 and rows.shape[1] > 0 and rows.stride(1) == 1
    return in_memory and native.library() is not None


def _by_kernel(rows: Tensor, *, mean: bool) -> Tensor:
    products = torch.empty(len(rows), len(rows), dtype=torch.float64)
    native.call("inner_products", native.pointer(rows), rows.stride(0), len(rows), rows.shape[1], products, mean)
    return products
