"""Which observations make each batch of an epoch, and which of them make each group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rlgns.agents.config import AgentConfig

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One optimizer step's observations, `step * N + env`."""

    parts: list[Indices]
    """Groups of a batch of the first epoch, equally many observations each; one part in later epochs."""
    first_epoch: bool
    shuffled: bool
    """Whether the groups are random observations instead of whole environments."""


def draw_batches(
    rng: np.random.Generator,
    config: AgentConfig,
    *,
    num_steps: int,
    num_envs: int,
    groups: int,
    split_shuffled: bool,
) -> Iterator[Batch]:
    """Yields all batches of an iteration: an epoch of whole environments, then epochs of shuffled observations.

    Args:
        rng: Draws them.
        config: Epochs and batches.
        num_steps: T.
        num_envs: N, a multiple of `minibatches * groups`.
        groups: Groups per batch of the first epoch.
        split_shuffled: Whether the first batch is split by random observations.
    """
    sizes = {"num_steps": num_steps, "num_envs": num_envs, "minibatches": config.minibatches, "groups": groups}
    for number, parts in enumerate(environment_batches(rng, **sizes)):
        shuffled = split_shuffled and number == 0
        yield Batch(parts=shuffle_groups(rng, parts) if shuffled else parts, first_epoch=True, shuffled=shuffled)
    for _ in range(1, config.epochs):
        for part in shuffled_batches(rng, observations=num_steps * num_envs, minibatches=config.minibatches):
            yield Batch(parts=[part], first_epoch=False, shuffled=False)


def environment_batches(
    rng: np.random.Generator, *, num_steps: int, num_envs: int, minibatches: int, groups: int
) -> Iterator[list[Indices]]:
    """Splits a rollout into batches of whole environments, each into groups of whole environments.

    Environments are the independent unit: groups' gradients show how much environments differ only if no environment
    is in two groups.

    Args:
        rng: Draws which environments form a group.
        num_steps: T.
        num_envs: N, a multiple of `minibatches * groups`.
        minibatches: Batches to make.
        groups: Groups per batch.

    Yields:
        Each batch's groups: int64 [T * N / (minibatches * groups)] each, `step * N + env`, in order of time.
    """
    order = rng.permutation(num_envs)
    steps = np.arange(num_steps, dtype=np.int64)[:, None] * num_envs
    for envs in order.reshape(minibatches, groups, -1):
        yield [(steps + np.sort(group)).reshape(-1) for group in envs]


def shuffled_batches(rng: np.random.Generator, *, observations: int, minibatches: int) -> Iterator[Indices]:
    """Splits a rollout's observations at random. Yields int64 [observations / minibatches] per batch."""
    yield from rng.permutation(observations).reshape(minibatches, -1)


def shuffle_groups(rng: np.random.Generator, groups: list[Indices]) -> list[Indices]:
    """Splits a batch's observations at random, whatever their environments, into as many groups."""
    return np.array_split(rng.permutation(np.concatenate(groups)), len(groups))
