"""Merges presets, files and command-line overrides into one typed `Config`, and turns it back into plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from rlgns.config import environment
from rlgns.config.convert import convert
from rlgns.config.files import exists, find_preset, read_yaml
from rlgns.config.schema import Config
from rlgns.errors import UserError, nearest

PRESET_FOR_CPU = "quick"
PRESET_FOR_GPU = "gpu"


def resolve(
    files: Sequence[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    *,
    has_gpu: bool | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Config:
    """Merges presets or files, then overrides, over the defaults and W&B's variables of the environment.

    Args:
        files: Names of presets (`ppo`) or paths of YAML files; later ones win. Empty: `quick` without a GPU, else
            `gpu`.
        overrides: `section.key` to value; text is converted by the key's type. They win over every file.
        has_gpu: Whether this machine has a GPU; None asks torch, and only where `files` is empty.
        say: Receives a line on each game given by another library's id (`ALE/Pong-v5`), which sets the protocol too.

    Raises:
        UserError: Unknown preset, file, section, key or game (with the nearest match); wrong type; contradictory
            values.
    """
    if not files:
        files = (default_preset(has_gpu),)
    tree: dict[str, dict[str, Any]] = {}
    for name in files:
        _merge(tree, _read(name, seen=()))
    overrides = overrides or {}
    tree = overridden(environment.below(tree, overrides), overrides, name=Path(files[-1]).stem)
    return from_dict(with_game_ids(tree, overrides, say))


def with_game_ids(
    tree: Mapping[str, Mapping[str, Any]], overrides: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Replaces other libraries' ids among `run.games` by ROM names, and sets the protocol that they mean.

    Args:
        tree: Section to key to value.
        overrides: `section.key` to value, already in `tree`: an `env.protocol` among them must agree with the ids.
        say: Receives a line on each id.

    Raises:
        UserError: Unknown game, ids of different protocols, or a protocol that is not theirs.
    """
    from rlgns.envs.game_ids import understand

    changed = {section: dict(values) for section, values in tree.items()}
    if "games" not in changed.get("run", {}):
        return changed
    names = convert("run.games", changed["run"]["games"], tuple[str, ...])
    try:
        ids = [understand(name) for name in names]
    except ValueError as refusal:
        raise UserError(f"run.games: {refusal}") from refusal
    changed["run"]["games"] = [found.game for found in ids]
    meant = {found.protocol: name for found, name in zip(ids, names, strict=True) if found.protocol}
    if len(meant) > 1:
        raise UserError(f"run.games: {' and '.join(meant.values())} mean the protocols {' and '.join(map(str, meant))}")
    for protocol, name in meant.items():
        if overrides.get("env.protocol", protocol) != protocol:
            given = overrides["env.protocol"]
            game = ids[names.index(name)].game
            raise UserError(f"run.games: {name} means env.protocol {protocol}, not {given}; give {game} for {given}")
        changed.setdefault("env", {})["protocol"] = protocol
    for found in ids:
        if found.meaning:
            say(found.meaning)
    return changed


def overridden(
    tree: Mapping[str, Mapping[str, Any]], overrides: Mapping[str, Any], *, name: str
) -> dict[str, dict[str, Any]]:
    """Returns sections of plain data with some keys replaced.

    Args:
        tree: Section to key to value.
        overrides: `section.key` to value.
        name: `run.name` where neither gives one.

    Raises:
        UserError: Unknown section or key, with the nearest match.
    """
    merged = {section: dict(values) for section, values in tree.items()}
    for dotted, value in overrides.items():
        section, key = split_key(dotted)
        merged.setdefault(section, {})[key] = value
    run = merged.setdefault("run", {})
    run["name"] = run.get("name") or name
    return merged


def from_dict(data: Mapping[str, Any]) -> Config:
    """Builds a `Config` from plain data, for example a saved configuration; missing keys take their defaults.

    Raises:
        UserError: As in `resolve`.
    """
    sections = {}
    for section, values in _checked_sections(data, "the configuration").items():
        sections[section] = build_section(section, section_types()[section], values)
    config: Config = _build(Config, sections)
    return config


def to_dict(config: Config) -> dict[str, dict[str, Any]]:
    """Returns plain data (sections of numbers, text, booleans, lists); `from_dict` builds an equal `Config` from it."""
    tree: dict[str, dict[str, Any]] = {}
    for section in section_types():
        values = dataclasses.asdict(getattr(config, section))
        tree[section] = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    return tree


def to_yaml(config: Config) -> str:
    """Returns YAML that `--config` can read, one key per line."""
    lines = []
    for section, values in to_dict(config).items():
        lines.append(f"{section}:")
        for key, value in values.items():
            text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"))
            lines.append(f"  {key}: {text.removesuffix('...' + chr(10)).strip()}")
    return "\n".join(lines) + "\n"


def default_preset(has_gpu: bool | None = None) -> str:
    """Returns the preset used without `--config`: `gpu` where there is a GPU, else `quick`. None asks torch."""
    if has_gpu is None:
        import torch

        has_gpu = torch.cuda.is_available()
    return PRESET_FOR_GPU if has_gpu else PRESET_FOR_CPU


@cache
def section_types() -> dict[str, type]:
    """Returns the sections of `Config`, in order: name to dataclass."""
    hints = get_type_hints(Config)
    return {section.name: hints[section.name] for section in dataclasses.fields(Config)}


@cache
def all_keys() -> tuple[str, ...]:
    """Returns every `section.key`, in order."""
    return tuple(
        f"{section}.{field.name}" for section, kind in section_types().items() for field in dataclasses.fields(kind)
    )


def split_key(dotted: str) -> tuple[str, str]:
    """Splits `section.key`. Raises UserError with the nearest match for an unknown key."""
    if dotted not in all_keys():
        section = dotted.split(".")[0]
        here = [key for key in all_keys() if key.startswith(f"{section}.")]
        raise UserError(f"{dotted}: unknown key{nearest(dotted, here or all_keys())}")
    section, key = dotted.split(".")
    return section, key


def resolve_game(game: str) -> str:
    """Returns the ROM name of a game given as `ms_pacman`, `MsPacman`, `ALE/MsPacman-v5` or the like.

    Raises:
        UserError: Unknown game, with the nearest match.
    """
    from rlgns.envs.game_ids import understand

    try:
        return understand(game).game
    except ValueError as refusal:
        raise UserError(f"run.games: {refusal}") from refusal


def build_section(section: str, kind: type, values: Mapping[str, Any]) -> Any:
    """Builds one section, of type `kind`, from plain data; games become ROM names.

    Raises:
        UserError: A value has the wrong type or is out of range.
    """
    hints = get_type_hints(kind)
    typed = {key: convert(f"{section}.{key}", value, hints[key]) for key, value in values.items()}
    if section == "run" and "games" in typed:
        typed["games"] = tuple(resolve_game(game) for game in typed["games"])
    return _build(kind, typed)


def _build(kind: type, values: Mapping[str, Any]) -> Any:
    """Calls a dataclass and turns its ValueError into a UserError."""
    try:
        return kind(**values)
    except ValueError as refusal:
        raise UserError(str(refusal)) from refusal


def _read(name: str | Path, seen: tuple[Path, ...]) -> dict[str, dict[str, Any]]:
    """Reads a preset or a file over the bases that it names. `seen` are the files that led here."""
    path = find_preset(name)
    if path in seen:
        raise UserError(f"{path}: its `base` leads back to itself")
    return merged_with_base(read_yaml(path), path, seen)


def merged_with_base(data: dict[str, Any], path: Path, seen: tuple[Path, ...] = ()) -> dict[str, dict[str, Any]]:
    """Merges a file's sections over those of the base that it names.

    Args:
        data: The file's content.
        path: The file.
        seen: The files whose `base` led here.

    Raises:
        UserError: Unknown section, key or base; a base that leads back to itself.
    """
    if isinstance(data.get("config"), dict):
        # a run's own config.yaml: its other sections describe that run, not a new one
        data = dict(data["config"])
    base = data.pop("base", None)
    tree: dict[str, dict[str, Any]] = {}
    if base is not None:
        if not isinstance(base, str) or not base:
            raise UserError(f"{path}: base: {base!r} is not the name of a preset or a file")
        beside = path.parent / base
        tree = _read(beside if exists(beside) and beside.is_file() else base, (*seen, path))
    _merge(tree, _checked_sections(data, str(path)))
    return tree


def _checked_sections(data: Mapping[Any, Any], where: str) -> dict[str, dict[str, Any]]:
    """Checks the names of sections and keys, not the values. `where` names their source in messages."""
    sections: dict[str, dict[str, Any]] = {}
    for section, values in data.items():
        if section not in section_types():
            raise UserError(f"{where}: unknown section {section!r}{nearest(str(section), section_types())}")
        if values is None:
            values = {}
        if not isinstance(values, Mapping):
            raise UserError(f"{where}: {section}: {values!r} is not a section of keys and values")
        for key in values:
            split_key(f"{section}.{key}")
        sections[section] = dict(values)
    return sections


def _merge(tree: dict[str, dict[str, Any]], above: Mapping[str, Mapping[str, Any]]) -> None:
    """Merges `above` into `tree`, key by key."""
    for section, values in above.items():
        tree.setdefault(section, {}).update(values)
