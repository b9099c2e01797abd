"""Groups of whole clusters: observations that belong together (of a document, a prompt, an episode) stay together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import torch
from torch import Tensor

ClusterIds = Sequence[Hashable] | Tensor
"""One id per observation; equal ids are one cluster."""


def split_by_cluster(cluster_ids: ClusterIds, groups: int) -> list[Tensor]:
    """Returns groups of whole clusters: clusters are dealt to groups in turn, in the order in which they first appear.

    Args:
        cluster_ids: [n], one id per observation.
        groups: Most groups; fewer where there are fewer clusters.

    Returns:
        Per group, int64 indices of its observations, ascending.

    Raises:
        ValueError: No observations.
    """
    ids: Iterable[Hashable] = cluster_ids.tolist() if isinstance(cluster_ids, Tensor) else cluster_ids
    numbers: dict[Hashable, int] = {}
    cluster = torch.tensor([numbers.setdefault(one, len(numbers)) for one in ids], dtype=torch.int64)
    if not numbers:
        raise ValueError("cluster_ids must have an id per observation, got none")
    count = min(groups, len(numbers))
    return [torch.nonzero(cluster % count == group).flatten() for group in range(count)]


def cluster_means(
    losses: Tensor | Sequence[Tensor], cluster_ids: ClusterIds, observations: object, groups: int
) -> list[tuple[Tensor, float]]:
    """Returns the mean loss of each group of whole clusters, and how many observations it is of.

    Args:
        losses: [n], or a list of scalars.
        cluster_ids: [n].
        observations: How many each loss stands for, [n]; None: one.
        groups: Most groups.

    Raises:
        ValueError: Ids or observations that do not match the losses.
    """
    vector = losses if isinstance(losses, Tensor) else torch.stack(list(losses))
    if vector.ndim != 1 or len(vector) != len(cluster_ids):
        raise ValueError(
            f"cluster_ids must be as many as the losses; got {len(cluster_ids)} ids for losses of shape "
            f"{list(vector.shape)}"
        )
    counts = torch.ones(len(vector)) if observations is None else torch.as_tensor(observations).to(torch.float32)
    if counts.shape != vector.shape or not bool((counts > 0).all()):
        raise ValueError(f"with cluster_ids, observations must be positive, one per loss; got {observations}")
    means = []
    for rows in split_by_cluster(cluster_ids, groups):
        weights, rows = counts[rows], rows.to(vector.device)
        total = float(weights.sum())
        means.append(((vector[rows] * weights.to(vector)).sum() / total, total))
    return means
