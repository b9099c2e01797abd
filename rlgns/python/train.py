"""`rlgns.train`: the command of that name, called from Python."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from rlgns.commands import train as command
from rlgns.commands.parser import parse
from rlgns.errors import ExitCode, FaultError
from rlgns.python.runs import Run, load_run, load_runs


@overload
def train(game: str | None = None, *, seeds: None = None, quiet: bool = False, **settings: Any) -> Run: ...
@overload
def train(game: Sequence[str], *, seeds: None = None, quiet: bool = False, **settings: Any) -> dict[str, Run]: ...
@overload
def train(
    game: str | Sequence[str] | None = None, *, seeds: Sequence[int], quiet: bool = False, **settings: Any
) -> dict[str, Run]: ...


def train(
    game: str | Sequence[str] | None = None,
    *,
    seeds: Sequence[int] | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Run | dict[str, Run]:
    """Trains as `rlgns train` does, with the same settings, and returns the run.

        rlgns.train("pong", observations=200_000, seed=1, out="runs/mine")
        rlgns.train("pong", config="a2c-paper", agent={"learning_rate": 1e-3}, network={"channels": [16, 32, 32]})
        rlgns.train("pong", **{"agent.learning_rate": 1e-3})
        rlgns.train(resume="runs/mine")

    Args:
        game: One game, or several that are trained side by side; None: that of `config`, else pong.
        seeds: Trains with each seed, one after another.
        quiet: Whether to print nothing; else progress goes to standard error and the result to standard output.
        **settings: The command's options without their dashes (`rlgns train --help`), sections of the configuration as
            mappings, or `section.key` to value (docs/configuration.md).

    Returns:
        The run; by the name of its folder where there are several.

    Raises:
        UserError: The settings are not what they should be; one line, as on the command line. Nothing was trained.
        FaultError: A fault stopped training after it was saved.
        KeyboardInterrupt: Ctrl-C stopped training after it was saved.
        SystemExit: Another signal did.
    """
    several = seeds is not None or (game is not None and not isinstance(game, str))
    given = {"game": game, "seeds": seeds, **settings}
    options, overrides = parse(["train", *_arguments(given)], {"train": command})
    printed = io.StringIO()
    with contextlib.ExitStack() as stack:
        if quiet:
            stack.enter_context(contextlib.redirect_stdout(printed))
            stack.enter_context(contextlib.redirect_stderr(printed))
        code = command.run(options, overrides)
    out = Path(options.out if options.out is not None else options.resume)
    if code == ExitCode.FAULT:
        faults = [line.removeprefix("rlgns: ") for line in printed.getvalue().splitlines() if line.startswith("rlgns:")]
        cause = "; ".join(faults) or "a fault, named above, stopped training"
        raise FaultError(f"{cause}; resume from the newest checkpoint with: rlgns.train(resume={str(out)!r})")
    if code == ExitCode.INTERRUPTED:
        raise KeyboardInterrupt(f"saved; resume with: rlgns.train(resume={str(out)!r})")
    if code != ExitCode.DONE:
        raise SystemExit(code)
    runs = load_runs(out)
    return runs if several or len(runs) > 1 else load_run(out)


def _arguments(settings: Mapping[str, Any]) -> list[str]:
    """Returns settings as the command line has them."""
    arguments: list[str] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            arguments += _arguments({f"{name}.{key}": one for key, one in value.items()})
        elif value is None or ("." not in name and value is False):
            continue
        elif "." not in name and value is True:
            arguments.append(_option(name))
        elif "." not in name and _is_list(value):
            arguments += [_option(name), *map(str, value)]
        else:
            text = ",".join(map(str, value)) if _is_list(value) else str(value)
            arguments.append(f"{_option(name)}={text}")
    return arguments


def _option(name: str) -> str:
    return f"--{name if '.' in name else name.replace('_', '-')}"


def _is_list(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)
