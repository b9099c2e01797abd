"""Reading a sweep from its file and the command line; every mistake is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rlgns.envs.games import GAMES
from rlgns.errors import UserError
from rlgns.sweep.load import resolve_sweep, to_dict
from rlgns.sweep.plan import make_plan

SWEEP = {
    "base": "ppo",
    "run": {"games": ["pong"], "observations": 1000},
    "agent": {"rollout_steps": 16, "minibatches": 2},
    "sweep": {"batches": [32, 64, 128], "goals": [-19, 0]},
}


def write(tmp_path: Path, **sections: object) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**SWEEP, **sections}))
    return path


def test_the_batch_is_set_by_the_number_of_environments(tmp_path: Path) -> None:
    sweep = resolve_sweep(write(tmp_path), {})
    assert {batch: config.env.num_envs for batch, config in sweep.configs.items()} == {32: 4, 64: 8, 128: 16}
    assert all(config.batch_observations == batch for batch, config in sweep.configs.items())
    assert {config.agent.rollout_steps for config in sweep.configs.values()} == {16}
    config = sweep.config(game="pong", batch=64, learning_rate=3e-4, seed=5)
    assert (config.run.seed, config.agent.learning_rate, config.run.games) == (5, 3e-4, ("pong",))
    assert (config.run.name, config.wandb.mode) == ("mine", "disabled")


def test_the_batch_is_set_by_the_rollout_length(tmp_path: Path) -> None:
    sweep = resolve_sweep(write(tmp_path), {"sweep.axis": "steps", "env.num_envs": "8"})
    assert {batch: config.agent.rollout_steps for batch, config in sweep.configs.items()} == {32: 8, 64: 16, 128: 32}
    assert all(config.batch_observations == batch for batch, config in sweep.configs.items())
    assert {config.env.num_envs for config in sweep.configs.values()} == {8}


def test_the_command_line_wins(tmp_path: Path) -> None:
    given = {"sweep.batches": "64,256", "run.games": "MsPacman,breakout", "sweep.goals": "3,1", "agent.gamma": "0.9"}
    sweep = resolve_sweep(write(tmp_path), {**given, "wandb.mode": "offline"})
    assert sweep.settings.batches == (64, 256)
    assert sweep.settings.goals == {"ms_pacman": (1.0, 3.0), "breakout": (1.0, 3.0)}
    assert (sweep.base.agent.gamma, sweep.base.wandb.mode) == (0.9, "offline")


def test_goals_by_game_or_the_papers(tmp_path: Path) -> None:
    section = {"batches": [32], "goals": {"Breakout": [2]}}
    sweep = resolve_sweep(write(tmp_path, sweep=section), {"run.games": "breakout,pong"})
    assert sweep.settings.goals == {"breakout": (2.0,), "pong": tuple(map(float, GAMES["pong"].score_goals))}


def test_a_resolved_sweep_can_be_read_again(tmp_path: Path) -> None:
    from rlgns.config.load import to_dict as config_to_dict

    sweep = resolve_sweep(write(tmp_path), {})
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump({"sweep": to_dict(sweep.settings), "config": config_to_dict(sweep.base)}))
    assert resolve_sweep(again, {}) == sweep


@pytest.mark.parametrize("name", ["breakout-quick", "pong-quick", "qbert-quick", "space-invaders-quick", "paper-a2c"])
def test_shipped_sweeps_can_run(name: str) -> None:
    sweep = resolve_sweep(name, {})
    assert all(config.groups_per_batch >= 2 for config in sweep.configs.values())
    assert not sweep.base.agent.anneal
    assert make_plan(sweep).initial_trials()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sweep.batches": "32,65"}, "times powers of 2; got 65 (nearest: 64)"),
        ({"sweep.batches": "40"}, "must be multiples of agent.rollout_steps 16, got 40 (nearest: 32)"),
        ({"sweep.batches": "16"}, "groups need at least 2: start at 32"),
        (
            {"sweep.batches": "176"},
            "sweep.batches: 176 is 11 environments of agent.rollout_steps 16, which cannot be split into 2 to 8 equal "
            "groups (noise.groups); nearest that can: 160 or 192",
        ),
        ({"sweep.batches": "32,32"}, "must name each once"),
        ({"sweep.batches": "0"}, "must all be positive, got 0"),
        ({"sweep.batches": "-32"}, "must all be positive, got -32"),
        ({"sweep.batches": ""}, "must name at least one"),
        ({"sweep.batches": "big"}, "sweep.batches: 'big' is not a whole number"),
        ({"sweep.seeds": "-1"}, "sweep.seeds must lie between 0 and"),
        ({"sweep.batchs": "32"}, "sweep.batchs: unknown key (did you mean batches?)"),
        ({"sweep.axis": "env"}, "must be one of envs, steps"),
        ({"sweep.learning_rate": "0"}, "sweep.learning_rate must be positive"),
        ({"sweep.price": "-1"}, "sweep.price must be zero or positive"),
        ({"run.games": "pongg"}, "unknown game 'pongg' (did you mean pong?)"),
        ({"sweep.goals": "1,1"}, "has a goal twice"),
        ({"sweep.goals": "high"}, "sweep.goals: 'high' is not a finite number"),
        ({"run.seed": "3"}, "give --sweep.seeds"),
        ({"env.num_envs": "8"}, "give --sweep.batches"),
        ({"agent.learning_rate": "1e-3"}, "give --sweep.learning_rate"),
        ({"env.num_env": "8"}, "did you mean env.num_envs?"),
        ({"output.mirror": "s3://b/x"}, "output.mirror: a sweep has none"),
        ({"wandb.video_every_observations": "9"}, "a sweep's trials are not filmed"),
        ({"agent.batch": "adaptive"}, "agent.batch adaptive: a sweep tries the fixed batches of sweep.batches"),
        (
            {"sweep.axis": "steps", "env.num_envs": "8", "sweep.batches": "42"},
            "must be multiples of the 4 environments",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, overrides: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve_sweep(write(tmp_path), overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_sweeps(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown sweep 'breakot-quick' \(did you mean breakout-quick\?\)"):
        resolve_sweep("breakot-quick", {})
    with pytest.raises(UserError, match="has no section sweep"):
        resolve_sweep(write(tmp_path, sweep=None), {})
    with pytest.raises(UserError, match="no score goals for frostbite"):
        resolve_sweep(write(tmp_path, sweep={"batches": [32]}), {"run.games": "frostbite"})
