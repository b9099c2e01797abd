"""From presets, files and command-line overrides to one typed `Config`, and back to plain data."""

from __future__ import annotations

import dataclasses
import sysconfig
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from rlgns.config.convert import convert
from rlgns.config.schema import Config
from rlgns.errors import UserError, nearest

PRESET_FOR_CPU = "quick"
PRESET_FOR_GPU = "ppo"


def resolve(
    files: Sequence[str | Path] = (), overrides: Mapping[str, Any] | None = None, *, has_gpu: bool | None = None
) -> Config:
    """Merges presets or files, then overrides, over the defaults.

    Args:
        files: Names of presets (`ppo`) or paths of YAML files; later ones win. Empty: `quick` without a GPU, else
            `ppo`.
        overrides: `section.key` to value; text is converted by the key's type. They win over every file.
        has_gpu: Whether this machine has a GPU; None: asks torch, only where `files` is empty.

    Raises:
        UserError: Unknown preset, file, section, key or game (with the nearest match); wrong type; values that
            contradict each other.
    """
    if not files:
        files = (default_preset(has_gpu),)
    tree: dict[str, dict[str, Any]] = {}
    for name in files:
        _merge(tree, _read(name, seen=()))
    return from_dict(overridden(tree, overrides or {}, name=Path(files[-1]).stem))


def overridden(
    tree: Mapping[str, Mapping[str, Any]], overrides: Mapping[str, Any], *, name: str
) -> dict[str, dict[str, Any]]:
    """Lays `section.key` to value over sections of plain data; `run.name` becomes `name` where nothing names it.

    Raises:
        UserError: Unknown section or key, with the nearest match.
    """
    above = {section: dict(values) for section, values in tree.items()}
    for dotted, value in overrides.items():
        section, key = split_key(dotted)
        above.setdefault(section, {})[key] = value
    run = above.setdefault("run", {})
    run["name"] = run.get("name") or name
    return above


def from_dict(data: Mapping[str, Any]) -> Config:
    """Builds a `Config` from plain data, for example a saved configuration; missing keys take their defaults.

    Raises:
        UserError: As `resolve`.
    """
    sections = {}
    for section, values in _checked_sections(data, "the configuration").items():
        sections[section] = build_section(section, section_types()[section], values)
    config: Config = _build(Config, sections)
    return config


def to_dict(config: Config) -> dict[str, dict[str, Any]]:
    """Plain data (sections of numbers, text, booleans and lists) that `from_dict` turns back into an equal `Config`."""
    tree: dict[str, dict[str, Any]] = {}
    for section in section_types():
        values = dataclasses.asdict(getattr(config, section))
        tree[section] = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    return tree


def to_yaml(config: Config) -> str:
    """The configuration as YAML that `--config` reads again; one line a key."""
    lines = []
    for section, values in to_dict(config).items():
        lines.append(f"{section}:")
        for key, value in values.items():
            text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"))
            lines.append(f"  {key}: {text.removesuffix('...' + chr(10)).strip()}")
    return "\n".join(lines) + "\n"


def default_preset(has_gpu: bool | None = None) -> str:
    """The preset used without `--config`: `ppo` where there is a GPU, else `quick`. None: asks torch."""
    if has_gpu is None:
        import torch

        has_gpu = torch.cuda.is_available()
    return PRESET_FOR_GPU if has_gpu else PRESET_FOR_CPU


def presets() -> dict[str, Path]:
    """Presets by name. Raises UserError where there are none: the installation is broken."""
    return _shipped("presets")


def sweeps() -> dict[str, Path]:
    """Shipped sweeps by name. Raises UserError as `presets`."""
    return _shipped("sweeps")


def find_sweep(name: str | Path) -> Path:
    """The file of a shipped sweep's name or of a path. Raises UserError with the nearest match."""
    return _find(name, sweeps(), "sweep")


def shipped_folder(kind: str) -> Path:
    """`configs/<kind>` beside the packages, or where a wheel puts data files. Raises UserError where there is none."""
    beside = Path(__file__).resolve().parents[2] / "configs" / kind
    installed = Path(sysconfig.get_path("data")) / "share" / "rlgns" / "configs" / kind
    for folder in (beside, installed):
        if folder.is_dir():
            return folder
    raise UserError(f"no {kind} in {beside} or {installed}; install rlgns again")


def _shipped(kind: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted(shipped_folder(kind).glob("*.yaml"))}


@cache
def section_types() -> dict[str, type]:
    """The sections of `Config`, in order: name to dataclass."""
    hints = get_type_hints(Config)
    return {section.name: hints[section.name] for section in dataclasses.fields(Config)}


@cache
def all_keys() -> tuple[str, ...]:
    """Every `section.key`, in order."""
    return tuple(
        f"{section}.{field.name}" for section, kind in section_types().items() for field in dataclasses.fields(kind)
    )


def split_key(dotted: str) -> tuple[str, str]:
    """Splits `section.key`. Raises UserError with the nearest match where there is no such key."""
    if dotted not in all_keys():
        section = dotted.split(".")[0]
        here = [key for key in all_keys() if key.startswith(f"{section}.")]
        raise UserError(f"{dotted}: unknown key{nearest(dotted, here or all_keys())}")
    section, key = dotted.split(".")
    return section, key


def rom_name(game: str) -> str:
    """The ROM name of a game given as `ms_pacman`, `MsPacman` or the like.

    Raises:
        UserError: Unknown game, with the nearest match.
    """
    from rlgns.envs.games import find

    try:
        return find(game).name
    except ValueError as refusal:
        raise UserError(f"run.games: {refusal}") from refusal


def build_section(section: str, kind: type, values: Mapping[str, Any]) -> Any:
    """Builds one section, of type `kind`, from plain data; games become ROM names.

    Raises:
        UserError: A value of the wrong type, or one that the section refuses.
    """
    hints = get_type_hints(kind)
    typed = {key: convert(f"{section}.{key}", value, hints[key]) for key, value in values.items()}
    if section == "run" and "games" in typed:
        typed["games"] = tuple(rom_name(game) for game in typed["games"])
    return _build(kind, typed)


def _build(kind: type, values: Mapping[str, Any]) -> Any:
    """Calls a dataclass; what it refuses is the user's mistake."""
    try:
        return kind(**values)
    except ValueError as refusal:
        raise UserError(str(refusal)) from refusal


def _read(name: str | Path, seen: tuple[Path, ...]) -> dict[str, dict[str, Any]]:
    """Reads a preset or a file, with the bases it names below it. `seen` are the files that led here."""
    path = _find(name, presets(), "preset")
    if path in seen:
        raise UserError(f"{path}: its `base` leads back to itself")
    return layers(read_yaml(path), path, seen)


def layers(data: dict[str, Any], path: Path, seen: tuple[Path, ...] = ()) -> dict[str, dict[str, Any]]:
    """Lays a file's sections over those of the base that it names.

    Args:
        data: The file's content.
        path: The file.
        seen: The files that led here.

    Raises:
        UserError: Unknown section, key or base; a base that leads back to itself.
    """
    if isinstance(data.get("config"), dict):
        # a run's own config.yaml: what else it says about the run does not apply to a new one
        data = dict(data["config"])
    base = data.pop("base", None)
    tree: dict[str, dict[str, Any]] = {}
    if base is not None:
        if not isinstance(base, str) or not base:
            raise UserError(f"{path}: base: {base!r} is not the name of a preset or a file")
        beside = path.parent / base
        tree = _read(beside if beside.is_file() else base, (*seen, path))
    _merge(tree, _checked_sections(data, str(path)))
    return tree


def _find(name: str | Path, known: Mapping[str, Path], what: str) -> Path:
    """The file of a shipped one's name or of a path. `what` is one of those that are shipped."""
    if str(name) in known:
        return known[str(name)].resolve()
    path = Path(name)
    if path.exists():
        return path.resolve()
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"no configuration file {name}; {what}s: {', '.join(known)}")
    raise UserError(f"unknown {what} {str(name)!r}{nearest(str(name), known)}; {what}s: {', '.join(known)}")


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file whose top level is a mapping. Empty files are empty mappings.

    Raises:
        UserError: Unreadable, not YAML, a key given twice, or not a mapping; one line with the place.
    """
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except OSError as failure:
        raise UserError(f"{path}: cannot be read: {failure.strerror}") from failure
    except UnicodeDecodeError as failure:
        raise UserError(f"{path}: is not UTF-8 text") from failure
    except (yaml.YAMLError, RecursionError, ValueError) as failure:
        mark = getattr(failure, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(failure, "problem", None) or type(failure).__name__
        raise UserError(f"{path}: is not valid YAML: {place}{problem}") from failure
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{path}: must be sections of keys and values, got {type(data).__name__}")
    return data


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error; plain PyYAML keeps the last one silently."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys: list[Any] = []
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", key_node.start_mark)
            keys.append(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def _checked_sections(data: Mapping[Any, Any], where: str) -> dict[str, dict[str, Any]]:
    """Checks names of sections and keys, not values."""
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
    """Lays `above` over `tree`, key by key."""
    for section, values in above.items():
        tree.setdefault(section, {}).update(values)
