"""Damages checkpoints: bytes of the file, and values of the state in a file that is whole."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import torch

from rlgns.agents.network import build_network
from rlgns.config.load import from_dict, to_dict
from rlgns.storage.checkpoint import STATE, save

TINY = {
    "env": {"num_envs": 4, "image_size": 32, "stagger_steps": 4},
    "network": {"channels": [4], "kernels": [8], "strides": [8], "hidden": 16},
    "agent": {"rollout_steps": 8, "minibatches": 2},
}
VALUES = (
    *(None, True, -1, 0, 0.5, 1e30, 10**30, math.nan, math.inf, -math.inf, "", "x", "../x", "a\nb", "\ud800"),
    *([], {}, [[]], {"a": 1}, {"x": {"y": []}}, b"x", (1, 2), "x" * 3000),
)
FILLS = (math.nan, math.inf, -math.inf, 0.0)


def make_checkpoint(draw: random.Random, folder: Path) -> None:
    """Writes the damaged checkpoint of an untrained policy of Breakout, whose games are short, into a run's folder."""
    torch.manual_seed(draw.randrange(10))
    config = from_dict(TINY)
    network = build_network(config.network, num_actions=4, frame_stack=config.env.frame_stack, image_size=32)
    state: dict[str, Any] = {
        "config": to_dict(config),
        "game": "breakout",
        "num_actions": 4,
        "num_envs": 4,
        "observations": 64,
        "iteration": 2,
        "learner": {"network": dict(network.state_dict())},
    }
    chance = draw.random()
    if chance < 0.5:
        for _ in range(draw.choice((1, 1, 2))):
            _damage(draw, state)
    path = save(folder / "checkpoints", 2, state, kept=1) / STATE
    if chance > 0.6:  # between the two it stays as it was
        path.write_bytes(_damaged_bytes(draw, path.read_bytes()))


def _damage(draw: random.Random, tree: dict[str, Any]) -> None:
    """Replaces or removes one entry of the tree, at any depth."""
    key = draw.choice(list(tree))
    inside = tree[key]
    if isinstance(inside, dict) and inside and draw.random() < 0.9:
        _damage(draw, inside)
    elif draw.random() < 0.15:
        del tree[key]
    elif isinstance(inside, torch.Tensor) and draw.random() < 0.7:
        how = draw.randrange(4)
        filled = torch.full_like(inside, draw.choice(FILLS))
        tree[key] = (filled, inside.flatten()[:-1], inside.to(torch.complex64), inside.to(torch.int8))[how]
    else:
        tree[key] = draw.choice(VALUES)


def _damaged_bytes(draw: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    how, place = draw.randrange(4), draw.randrange(len(content))
    length = draw.choice((1, 40, 4000))
    if how == 0:
        for _ in range(draw.choice((1, 1, 8, 200))):
            bit = draw.randrange(8 * len(content))
            changed[bit // 8] ^= 1 << bit % 8
    elif how == 1:
        del changed[place:]
    elif how == 2:
        del changed[place : place + length]
    else:
        changed[place:place] = draw.randbytes(length)
    return bytes(changed)
