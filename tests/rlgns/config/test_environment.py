"""W&B's variables stand where no flag and no file says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlgns.config.environment import run_of_wandb
from rlgns.config.load import from_dict, resolve, to_dict
from rlgns.sweep.load import resolve_sweep


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "WANDB_PROJECT": "atari",
        "WANDB_ENTITY": "lab",
        "WANDB_RUN_GROUP": "night",
        "WANDB_NAME": "first",
        "WANDB_TAGS": "a,b",
    }.items():
        monkeypatch.setenv(name, value)


def test_they_count_where_nothing_is_given() -> None:
    wandb = resolve(["quick"]).wandb
    assert (wandb.project, wandb.entity, wandb.group, wandb.name) == ("atari", "lab", "night", "first")
    assert wandb.tags == ("a", "b")
    sweep = resolve_sweep("pong-quick", {})
    assert (sweep.base.wandb.project, sweep.base.wandb.group) == ("atari", "night")


def test_flags_and_files_win(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("wandb: {project: filed}\n")
    wandb = resolve([tmp_path / "mine.yaml"], {"wandb.tags": "c", "wandb.group": "day"}).wandb
    assert (wandb.project, wandb.tags, wandb.group, wandb.name) == ("filed", ("c",), "day", "first")
    assert resolve(["quick"], {"run.name": "experiment"}).wandb.group == ""  # run.name is the group


def test_a_resumed_run_keeps_what_it_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = to_dict(resolve(["quick"]))
    monkeypatch.setenv("WANDB_PROJECT", "another")
    assert from_dict(saved).wandb.project == "atari"


def test_the_agents_run_and_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    assert run_of_wandb() == {}
    monkeypatch.setenv("WANDB_RUN_ID", "r1")
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    assert run_of_wandb() == {"wandb_id": "r1", "wandb_sweep": "s1"}
