"""Inner products of groups' gradients by a linear layer's weights, without forming the gradients.

A group's gradient is a sum of outer products over its observations, G_i = sum over a in i of d_a x_a^T, where x_a is
the layer's input and d_a the gradient by its output. So

    <G_i, G_j> = sum over a in i, b in j of (x_a . x_b) (d_a . d_b)

and the mean over groups is one product over the whole batch. Goodfellow 2015, arXiv:1510.01799, for the norm of each
observation's gradient; Li et al. 2022, arXiv:2110.05679, section 4, for sums ("ghost clipping").
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlgns.agents.compute.team import Team

MOST_PAIRS = 2**25
"""Pairs of observations whose products are held at a time: 128 MiB for each matrix of them."""

ROW_BYTES = 44
"""Bytes moved for each number of a row: written by the product; copied to its row (8); read, written in float64 and
read again by the Gram matrix (20); read for the mean, whose own row is read and written (12)."""

PAIR_BYTES = 24
"""Bytes moved for each pair of observations: two products written and read, their product written and read."""

OPERATIONS_PER_BYTE = {2: 100, 4: 10, 8: 10}
"""Operations in the time in which an accelerator moves a byte, by the bytes of a factor: about half of what the data
sheets of A100, H100, H200 and L4 have, 200 and more for 16 bits and 12 and more for 32. Not measured."""

ON_PROCESSOR = 5
"""The same of a processor: a core did 5 x 10^10 operations in float32 and moved 9 GB a second (AMD EPYC, 2 threads)."""

GAIN_ON_PROCESSOR, GROUPS_ON_PROCESSOR = 3.0, 16
"""How many times cheaper, and how many groups, before a processor uses factors: with fewer two threads gain nothing."""


def factored_is_cheaper(weight: Tensor, *, batch: int, groups: int) -> bool:
    """Says whether inner products from factors cost less than those of rows, by count.

        rows      ROW_BYTES groups inputs outputs  bytes,  2 groups^2 inputs outputs  operations in float64
        factors   PAIR_BYTES batch^2               bytes,  2 batch^2 (inputs + outputs)  operations

    The mean gradient, which both need, takes the same operations.

    Args:
        weight: Of the layer [outputs, inputs], in the type of its factors, on the device that computes.
        batch: Observations.
        groups: That they are split into.
    """
    on_processor, (outputs, inputs) = weight.device.type == "cpu", weight.shape
    in_float64 = ON_PROCESSOR if on_processor else OPERATIONS_PER_BYTE[8]
    per_byte = ON_PROCESSOR if on_processor else OPERATIONS_PER_BYTE[weight.element_size()]
    rows = ROW_BYTES * groups * weight.numel() + 2 * groups**2 * weight.numel() / in_float64
    pairs = PAIR_BYTES * batch**2 + 2 * batch**2 * (inputs + outputs) / per_byte
    if on_processor:
        return groups >= GROUPS_ON_PROCESSOR and GAIN_ON_PROCESSOR * pairs < rows
    return pairs < rows


def factored_products(gradients: Sequence[Tensor], inputs: Tensor, groups: int, team: Team) -> Tensor:
    """Computes the inner products of all groups' weight gradients, of one loss or several.

    Args:
        gradients: Of each loss, by the layer's outputs [batch, outputs], group after group, equally many observations
            each.
        inputs: Of the layer, [batch, inputs].
        groups: That the batch is split into.
        team: Threads that share the work.

    Returns:
        Float64 [losses * groups, losses * groups], the first loss's groups before the second's.
    """
    batch, losses = len(inputs), len(gradients)
    size = batch // groups
    every = gradients[0] if losses == 1 else torch.cat(list(gradients))
    at_once = max(1, min(-(-groups // team.size), MOST_PAIRS // (losses * batch * size)))

    def work(job: tuple[Tensor, int]) -> Tensor:
        gradient, first = job
        mine = slice(first * size, (first + at_once) * size)
        by_output, by_input = matrix_product(gradient[mine], every.T), matrix_product(inputs[mine], inputs.T)
        pairs = by_output.view(-1, size, losses, groups, size).mul_(by_input.view(-1, size, 1, groups, size))
        return pairs.sum((1, 4), dtype=torch.float64).flatten(1)

    jobs = [(gradient, first) for gradient in gradients for first in range(0, groups, at_once)]
    return torch.cat(team.map(work, jobs))


def matrix_product(left: Tensor, right: Tensor) -> Tensor:
    """Returns left right, [n, m] and [m, k], in float32 or wider: sums of bfloat16 products are not rounded again."""
    if left.dtype != torch.bfloat16:
        return left @ right
    if left.is_cuda:
        return torch.bmm(left[None], right[None], out_dtype=torch.float32)[0]
    return left.float() @ right.float()
