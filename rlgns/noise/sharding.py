"""Models whose parameters are sharded over processes (FSDP2, `torch.distributed.fsdp.fully_shard`).

Every process runs the same passes, each on its share of a part. FSDP2 leaves in `p.grad` this process's shard of the
mean gradient over all processes. So a group is that of all processes together, and

    <g_j, g_k> = sum over processes of <shard of g_j, shard of g_k>

which is one message of a few numbers per step.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

REFUSED = "sharded parameters must all be sharded over one mesh of one dimension by fully_shard"


def local(tensor: Tensor) -> Tensor:
    """Returns this process's shard, or the tensor itself where it is whole."""
    part = getattr(tensor, "to_local", None)  # of DTensor; importing its module takes a second
    return tensor if part is None else part()


def processes_of_shards(model: nn.Module) -> dist.ProcessGroup | None:
    """Returns the processes that hold the shards of a model's trainable parameters; None where all are whole.

    Raises:
        ValueError: Some parameters are sharded otherwise than FSDP2 does over one dimension.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not any(hasattr(parameter, "to_local") for parameter in parameters):
        return None
    from torch.distributed.tensor import DTensor

    meshes = {parameter.device_mesh for parameter in parameters if isinstance(parameter, DTensor)}
    whole = [p for p in parameters if not isinstance(p, DTensor) or not all(x.is_shard() for x in p.placements)]
    if whole or len(meshes) != 1 or (mesh := meshes.pop()).ndim != 1:
        raise ValueError(f"{REFUSED}; the noise scale cannot be measured otherwise")
    return mesh.get_group()


def sum_over_shards(
    squares: list[Tensor], crosses: list[Tensor], observations: list[float], processes: dist.ProcessGroup
) -> tuple[list[float], list[float]]:
    """Returns the squared norms and inner products of whole gradients.

    Args:
        squares: Per group, of this process's shards, float64 scalars.
        crosses: Likewise.
        observations: Per group, of all processes if they have as many as this one.
        processes: Which hold shards.

    Raises:
        RuntimeError: Processes have different numbers of groups or of observations in them.
    """
    mine = [[float(value) for value in values] for values in (squares, crosses)] + [observations]
    shares: list[list[list[float]] | None] = [None] * dist.get_world_size(processes)
    dist.all_gather_object(shares, mine, group=processes)
    found = [share for share in shares if share is not None]
    if any(share[2] != observations for share in found):
        got = [[n / len(found) for n in share[2]] for share in found]
        raise RuntimeError(f"processes of a sharded model need as many observations in each group, got {got}")
    squared, crossed = ([sum(column) for column in zip(*(share[i] for share in found), strict=True)] for i in (0, 1))
    return squared, crossed


def synchronize(model: nn.Module) -> None:
    """Waits for what the model's device was asked to do, so that a clock tells how long it took."""
    parameter = next(model.parameters(), None)
    if parameter is not None and parameter.device.type == "cuda":
        torch.cuda.synchronize(parameter.device)
