"""Fixtures of the tests of commands: each runs in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlgns.config.load import resolve, to_dict
from rlgns.metrics.registry import REQUIRED
from rlgns.storage.run_folder import RunFolder


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run of three iterations without a checkpoint."""
    folder = RunFolder(tmp_path / "run")
    folder.create(to_dict(resolve(["ppo"])), {"game": "pong", "wandb_id": "abc"})
    for iteration in (1, 2, 3):
        numbers = {"iteration": iteration, "observations": 1024 * iteration, "seconds": 2.0 * iteration}
        folder.append({**dict.fromkeys(REQUIRED), "game": "pong", **numbers, "score_mean": -20.5})
    return folder.path
