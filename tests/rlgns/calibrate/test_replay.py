"""Replayed iterations."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rlgns.calibrate.frozen_policy import prepare_policy
from rlgns.calibrate.replay import OptimizerSteps
from rlgns.storage.checkpoint import load_policy
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.engine.test_adaptive import adaptive, script
from tests.rlgns.engine.tiny import build


@pytest.mark.usefixtures("local_ray")
def test_steps_on_an_adaptive_run_have_the_learners_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = adaptive()
    algorithm = build(replace(config, agent=replace(config.agent, anneal=True)), tmp_path)
    script(algorithm, monkeypatch, [16, 16])
    for _ in range(2):
        algorithm.train()
    algorithm.stop()
    row = RunFolder(tmp_path).rows()[-1]
    assert row["num_envs"] == 16  # four times the configured number, so twice the rate before annealing
    policy = load_policy(tmp_path)
    with closing(prepare_policy(policy)) as team:
        assert OptimizerSteps(policy, team).learning_rate == row["learning_rate"]
