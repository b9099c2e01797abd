"""Generates the page of all keys from the dataclasses: `python -m rlgns.config.describe > docs/configuration.md`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
from typing import Any

from rlgns.config.load import section_types

_HEAD = """\
# Configuration

Every key with its type, default and meaning. `python -m rlgns.config.describe` generates this page from the
dataclasses, and a test keeps it up to date. `rlgns config` prints the values that a run would use.

A configuration is a YAML file of sections. `--config` takes the name of a preset or a path; `base: ppo` at the top
level of a file starts from a preset or another file. The `config.yaml` of a run works too, for a new run with the same
settings. On the command line `--section.key VALUE` sets one key, lists with commas (`--network.channels 16,32`);
`--game`, `--observations`, `--seed`, `--batch`, `--runners`, `--learners`, `--async-lag`, `--mirror` and
`--tensorboard` are short for `--run.games`, `--run.observations`, `--run.seed`, `--agent.batch`, `--engine.runners`,
`--engine.learners`, `--engine.async_lag`, `--output.mirror` and `--output.tensorboard true`. The command line wins over
the file, the file over its base, the base over the defaults. Without `--config`: `quick` where there is no GPU, else
`gpu`.

Presets, in `configs/presets/`: `ppo` (the field's settings, which are the defaults below), `a2c-paper` (the A2C that
the paper measured, McCandlish et al. 2018), `quick` (small images and network, for a machine without a GPU) and `gpu`
(`ppo` with 128 environments and batches of 1,024, since 8 environments cannot feed a GPU). Their scores and noise
scales are not comparable with one another's.
"""


def page() -> str:
    """Returns the page in Markdown."""
    return _HEAD + "".join(section_table(section, kind) for section, kind in section_types().items())


def section_table(section: str, kind: type) -> str:
    """Returns a section's heading, meaning and table of keys in Markdown."""
    meanings = attribute_docstrings(kind)
    parts = [f"\n## {section}\n\n{(kind.__doc__ or '').strip()}\n\n| key | type | default | meaning |\n"]
    parts.append("| --- | --- | --- | --- |\n")
    for field in dataclasses.fields(kind):
        default = "by game" if field.default is dataclasses.MISSING else _text(field.default)
        values = " or ".join(f"`{choice}`" for choice in field.metadata.get("choices", (field.type,)))
        row = (f"`{section}.{field.name}`", values, default, meanings[field.name])
        parts.append(f"| {' | '.join(row)} |\n")
    return "".join(parts)


def attribute_docstrings(kind: type) -> dict[str, str]:
    """Returns the docstring below each attribute of a class, on one line, by the attribute's name."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    meanings: dict[str, str] = {}
    name = ""
    for statement in body.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
        elif name and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            meanings[name], name = " ".join(str(statement.value.value).split()), ""
    return meanings


def _text(value: Any) -> str:
    """Returns a default as one would type it."""
    if isinstance(value, tuple):
        value = ",".join(str(item) for item in value)
    if isinstance(value, bool):
        value = str(value).lower()
    return f"`{value}`" if value != "" else "empty"


if __name__ == "__main__":
    sys.stdout.write(page())
