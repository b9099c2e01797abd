"""Reads a sweep's file and the command line into a resolved and checked `Sweep`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rlgns.agents.config import AgentConfig
from rlgns.config import environment
from rlgns.config.convert import convert
from rlgns.config.files import find_sweep, read_yaml
from rlgns.config.load import build_section, from_dict, merged_with_base, overridden, resolve_game, with_game_ids
from rlgns.config.schema import Config
from rlgns.envs.config import EnvConfig
from rlgns.envs.games import GAMES
from rlgns.errors import UserError, nearest
from rlgns.noise.config import NoiseConfig
from rlgns.sweep.config import Sweep, SweepConfig

# Keys of single runs that a sweep sets itself, and the key from which it does.
_SET_BY_SWEEP = {
    "run.seed": "sweep.seeds",
    "agent.learning_rate": "sweep.learning_rate",
    "env.num_envs": "sweep.batches",
    "agent.rollout_steps": "sweep.batches",
}


def resolve_sweep(
    name: str | Path, overrides: Mapping[str, str], *, say: Callable[[str], None] = lambda text: None
) -> Sweep:
    """Reads a sweep.

    Args:
        name: A shipped sweep's name, or the path of a YAML file: a configuration with a section `sweep`, such as the
            sweep.yaml in a sweep's folder.
        overrides: `section.key` to text; they win over the file.
        say: Receives a line on each game given by another library's id.

    Raises:
        UserError: Unknown file, section, key or game (with the nearest match); a value of the wrong type; a batch size
            that cannot be made or whose groups cannot be formed; a game without goals.
    """
    path = find_sweep(name)
    section, tree = _read(path)
    tree.setdefault("wandb", {}).setdefault(
        "mode", "disabled"
    )  # a sweep may have hundreds of trials: W&B only where asked for
    run_overrides = {key: value for key, value in overrides.items() if not key.startswith("sweep.")}
    sweep_overrides = {
        key.removeprefix("sweep."): value for key, value in overrides.items() if key.startswith("sweep.")
    }
    settings = _settings({**section, **sweep_overrides}, where=str(path))
    _refuse_keys_set_by_sweep(run_overrides, settings)
    tree = overridden(environment.below(tree, run_overrides), run_overrides, name=path.stem)
    tree = with_game_ids(tree, run_overrides, say)
    if tree.get("agent", {}).get("batch", "fixed") != "fixed":
        raise UserError(
            f"agent.batch {tree['agent']['batch']}: a sweep tries the fixed batches of sweep.batches; train another "
            "run with rlgns train --batch adaptive and compare the two with rlgns fit --adaptive"
        )
    configs = {batch: _config(tree, settings, batch) for batch in settings.batches}
    _refuse_what_single_runs_have(configs[settings.batches[0]])
    games = configs[settings.batches[0]].run.games
    goals = _goals(section.get("goals") if "goals" not in sweep_overrides else sweep_overrides["goals"], games)
    return Sweep(settings=dataclasses.replace(settings, goals=goals), configs=configs)


def standalone(name: str | Path) -> str:
    """Returns a sweep's file as YAML with its bases merged in. Raises UserError as `resolve_sweep` does."""
    section, tree = _read(find_sweep(name))
    return yaml.safe_dump({**tree, "sweep": dict(section)}, sort_keys=False)


def to_dict(settings: SweepConfig) -> dict[str, Any]:
    """Returns the settings as plain data, which `resolve_sweep` reads back as the section `sweep`."""
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    values["goals"] = {game: list(goals) for game, goals in settings.goals.items()}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _read(path: Path) -> tuple[Mapping[str, Any], dict[str, dict[str, Any]]]:
    """Returns the section `sweep` of a file, and its other sections merged over those of its bases."""
    data = read_yaml(path)
    section = data.pop("sweep", None)
    if not isinstance(section, Mapping):
        raise UserError(
            f"{path} has no section sweep; use `rlgns train --config` for the configuration of a single run"
        )
    return section, merged_with_base(data, path)


def _settings(values: Mapping[str, Any], *, where: str) -> SweepConfig:
    known = [field.name for field in dataclasses.fields(SweepConfig)]
    for key in values:
        if key not in known:
            raise UserError(f"{where}: sweep.{key}: unknown key{nearest(str(key), known)}")
    settings: SweepConfig = build_section(
        "sweep", SweepConfig, {key: value for key, value in values.items() if key != "goals"}
    )
    return settings


def _refuse_what_single_runs_have(config: Config) -> None:
    if config.output.mirror:
        raise UserError("output.mirror: a sweep has none; keep its folder (--out) on a disk that outlives the machine")
    if config.wandb.video_every_observations:
        raise UserError(
            "wandb.video_every_observations: a sweep's trials are not filmed; `rlgns evaluate` films their checkpoints"
        )


def _refuse_keys_set_by_sweep(overrides: Mapping[str, str], settings: SweepConfig) -> None:
    free = "agent.rollout_steps" if settings.axis == "envs" else "env.num_envs"
    for key in overrides:
        if key in _SET_BY_SWEEP and key != free:
            raise UserError(
                f"--{key}: a sweep sets it for each trial, from {_SET_BY_SWEEP[key]}; give --{_SET_BY_SWEEP[key]}"
            )


def _config(tree: Mapping[str, Mapping[str, Any]], settings: SweepConfig, batch: int) -> Config:
    """Returns the configuration whose batch has so many observations."""
    agent: AgentConfig = build_section("agent", AgentConfig, tree.get("agent", {}))
    envs: EnvConfig = build_section("env", EnvConfig, tree.get("env", {}))
    if settings.axis == "envs":
        unit, what = agent.rollout_steps, f"agent.rollout_steps {agent.rollout_steps}"
    else:
        unit = max(1, envs.num_envs // agent.minibatches)
        what = f"the {unit} environments of a batch (env.num_envs {envs.num_envs} / agent.minibatches)"
    if batch % unit:
        near = max(1, round(batch / unit)) * unit
        raise UserError(f"sweep.batches must be multiples of {what}, got {batch} (nearest: {near})")
    envs_per_batch = batch // unit
    if settings.axis == "steps":
        return from_dict(overridden(tree, {"agent.rollout_steps": batch // unit}, name=""))
    noise: NoiseConfig = build_section("noise", NoiseConfig, tree.get("noise", {}))
    if envs_per_batch < 2 and noise.enabled:
        raise UserError(
            f"sweep.batches: {batch} is one environment of {what}, and groups need at least 2: start at {2 * unit}, "
            "or reduce agent.rollout_steps"
        )
    if noise.enabled and not any(envs_per_batch % groups == 0 for groups in range(2, noise.groups + 1)):
        raise UserError(
            f"sweep.batches: {batch} is {envs_per_batch} environments of {what}, which cannot be split into 2 to "
            f"{noise.groups} equal groups (noise.groups); nearest that can: {batch - unit} or {batch + unit}"
        )
    return from_dict(overridden(tree, {"env.num_envs": envs_per_batch * agent.minibatches}, name=""))


def _goals(given: Any, games: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """Returns the goals of each game, ascending: those given for it, else those given for all, else the paper's."""
    by_game: dict[str, Any] = {}
    if isinstance(given, Mapping):
        by_game = {resolve_game(str(game)): goals for game, goals in given.items()}
    elif given is not None:
        by_game = dict.fromkeys(games, given)
    found: dict[str, tuple[float, ...]] = {}
    for game in games:
        goals = convert("sweep.goals", by_game.get(game, GAMES[game].score_goals), tuple[float, ...])
        if not goals:
            raise UserError(
                f"sweep.goals: no score goals for {game}, and the paper has none: give --sweep.goals "
                f"(random play scores {GAMES[game].random_score:g}, a person {GAMES[game].human_score:g})"
            )
        if len(set(goals)) < len(goals):
            raise UserError(f"sweep.goals: {game} has a goal twice: {', '.join(f'{goal:g}' for goal in goals)}")
        found[game] = tuple(sorted(goals))
    return found
