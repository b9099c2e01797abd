r"""Noise at two levels: between clusters, and between the observations of one cluster (prompts and their completions).

Observation i of cluster p has the gradient G + b_p + w_pi: V_b = E|b|^2 between clusters, V_w = E|w|^2 within. A batch
of P clusters of C observations each has the noise (V_b + V_w / C) / P. So twice the clusters halve it, and twice the
observations in each leave (V_b + V_w / 2C) / (V_b + V_w / C) of it, 1/2 to 1 (cluster sampling: Kish 1965).

Both are read from groups of whole clusters, at one parameter vector. Group k has q_k clusters; the first a observations
of each make up its first half, the other b = C - a its second. With h_k, h'_k the mean gradients of the halves and g_k
that of the group, k and l different groups,

    E <g_k, g_l>   = |G|^2
    E <h_k, h'_k>  = |G|^2 + V_b / q_k
    E |h_k|^2      = |G|^2 + V_b / q_k + V_w / (a q_k)

so that means over groups solve for all three, unbiased, whatever the sizes of groups. Neither is ever clamped. Groups
that mix observations of one cluster (a shuffled batch) see V_b + V_w alone, and find too much signal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rlgns.noise.moments import Moments


@dataclass(frozen=True, kw_only=True, slots=True)
class HalvedGroup:
    """Squared norms of one group's halves, and their inner product."""

    clusters: int
    first_sq: float
    second_sq: float
    halves: float
    """<h, h'>."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NestedMoments:
    """Estimates of |G|^2 and of the noise at both levels, from one batch."""

    grad_sq: float
    """Unbiased estimate of |G|^2; may be negative."""
    between: float
    """Of V_b, per cluster; may be negative."""
    within: float
    """Of V_w, per observation; may be negative only by rounding and dependence within clusters."""
    per_cluster: int
    """C, observations in a cluster."""
    clusters: int
    """In the batch."""
    groups: int

    @property
    def trace(self) -> float:
        """Per observation, with clusters as the independent units: C V_b + V_w."""
        return self.per_cluster * self.between + self.within

    def moments(self) -> Moments:
        """The noise scale's moments, observations as the unit."""
        return self._moments(self.grad_sq, self.trace)

    def between_moments(self) -> Moments:
        """Moments whose ratio is V_b / |G|^2, in clusters."""
        return self._moments(self.grad_sq, self.between)

    def within_moments(self) -> Moments:
        """Moments whose ratio is V_w / |G|^2, in observations."""
        return self._moments(self.grad_sq, self.within)

    def share_moments(self) -> Moments:
        """Moments whose ratio is V_b / (V_b + V_w / C), the share of a batch's noise that is between clusters."""
        return self._moments(self.between + self.within / self.per_cluster, self.between)

    def _moments(self, below: float, above: float) -> Moments:
        size = max(1, round(self.clusters * self.per_cluster / self.groups))
        return Moments(grad_sq=below, trace=above, groups=self.groups, observations_per_group=size)


def nested_moments(groups: Sequence[HalvedGroup], cross: float, *, first: int, per_cluster: int) -> NestedMoments:
    """Returns the moments at both levels.

    Args:
        groups: At least two.
        cross: Sum over ordered pairs of different groups of <g_k, g_l>.
        first: a, observations of each cluster in the first half, from 1 to C - 1.
        per_cluster: C.

    Raises:
        ValueError: Fewer than two groups, or halves without observations.
    """
    count = len(groups)
    if count < 2:
        raise ValueError(f"two levels of noise need at least 2 groups of clusters, got {count}")
    if not 0 < first < per_cluster:
        raise ValueError(f"a cluster needs at least 2 observations, got halves of {first} and {per_cluster - first}")
    grad_sq = cross / (count * (count - 1))
    halves = math.fsum(group.halves for group in groups) / count
    squares = math.fsum(group.first_sq + group.second_sq for group in groups) / count
    share = math.fsum(1 / group.clusters for group in groups) / count
    return NestedMoments(
        grad_sq=grad_sq,
        between=(halves - grad_sq) / share,
        within=(squares - 2 * halves) / (share * (1 / first + 1 / (per_cluster - first))),
        per_cluster=per_cluster,
        clusters=sum(group.clusters for group in groups),
        groups=count,
    )


def noise_left(between_share: float, factor: float = 2.0) -> float:
    """Returns the share of a batch's noise that `factor` times the observations in each cluster leave.

    Args:
        between_share: V_b / (V_b + V_w / C).
        factor: Positive; the same factor of clusters would leave 1 / factor.
    """
    return between_share + (1 - between_share) / factor
