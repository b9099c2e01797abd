"""Five recorded updates. A refactor must reproduce them; a change of arithmetic updates the file and says why.

RLGNS_WRITE_GOLDEN=1 python -m pytest tests/agents/test_golden.py
"""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rlgns.agents.batch_gradients import GroupSplit
from rlgns.agents.config import AgentConfig
from rlgns.agents.update import Updater
from rlgns.noise import Moments, group_moments
from tests.agents.synthetic import near_policy, random_rollouts, small_network

GOLDEN = Path(__file__).parents[1] / "golden" / "ppo_cpu.json"
UPDATES = 5


def five_updates() -> list[dict[str, float]]:
    """Loss parts, gradient norm and both moments of five updates: float32, one thread, numpy's random numbers."""
    network = small_network()
    config = AgentConfig(rollout_steps=16, epochs=2, minibatches=2)
    moments: list[Moments] = []

    def on_groups(gradients: Tensor, split: GroupSplit) -> None:
        moments.append(group_moments(gradients, observations_per_group=split.observations_per_group))

    updater = Updater(network, config, groups=4, precision="float32", on_groups=on_groups)
    rows = []
    for update in range(UPDATES):
        rollouts, observations = random_rollouts(update, steps=16, envs=8, end_probability=0.1)
        near_policy(rollouts, observations, network, seed=update)
        stats = updater.update(rollouts, learning_rate=1e-3 * (1 - update / UPDATES), seed=(0, update))
        rows.append(
            {
                "policy_loss": stats.metrics["loss/policy"],
                "value_loss": stats.metrics["loss/value"],
                "entropy": stats.metrics["entropy"],
                "grad_norm": stats.metrics["grad_norm"],
                "grad_sq": sum(m.grad_sq for m in moments) / len(moments),
                "trace": sum(m.trace for m in moments) / len(moments),
            }
        )
        moments.clear()
    return [{name: float(f"{value:.5g}") for name, value in row.items()} for row in rows]


def test_five_updates_are_those_recorded() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = five_updates()
    finally:
        torch.set_num_threads(threads)
    if os.environ.get("RLGNS_WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text("[\n" + ",\n".join(f"  {json.dumps(row)}" for row in rows) + "\n]\n")
    recorded = json.loads(GOLDEN.read_text())
    assert len(rows) == len(recorded) == UPDATES
    for number, (row, expected) in enumerate(zip(rows, recorded, strict=True)):
        assert row.keys() == expected.keys()
        for name, value in row.items():  # 1e-3: BLAS libraries and the order of sums differ between machines
            assert value == pytest.approx(expected[name], rel=1e-3), f"{name} of update {number}"
