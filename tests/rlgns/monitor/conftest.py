"""Fixtures of the monitor's tests: three games, and no W&B login of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlgns.config.schema import Config, RunConfig
from tests.rlgns.monitor.terminal_session import GAMES


@pytest.fixture
def config() -> Config:
    return Config(run=RunConfig(games=GAMES, observations=204_800))


@pytest.fixture
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    import wandb

    for name in ("WANDB_API_KEY", "WANDB_API_KEY_FILE", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    wandb.teardown()
    yield
    wandb.teardown()
