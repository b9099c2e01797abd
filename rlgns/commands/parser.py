"""Parses a command line; the parser is built from the modules of the commands.

Values stay text here: the commands and the configuration convert them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn, Protocol

from rlgns import __version__
from rlgns.errors import UserError, nearest

DESCRIPTION = """\
PPO on Atari that tells you, while it trains, how large a batch is still worth paying for.

examples:
  rlgns train                                       Pong, with the preset that suits this machine
  rlgns train --game breakout --observations 200000
  rlgns train --config a2c-paper --env.num_envs 64
  rlgns train --resume runs/pong-20260101-120000
  rlgns report runs/pong-20260101-120000 --json

exit codes: 0 done, 2 your mistake, 3 stopped by a fault after saving,
            after saving: 130 interrupted (Ctrl-C), 143 terminated (SIGTERM), 129 lost its terminal (SIGHUP)
"""

OTHER_NAMES = {
    "--config": ("preset", "config_file", "yaml"),
    "--game": ("env", "env_id", "env_name", "environment"),
    "--observations": ("timesteps", "total_timesteps", "steps", "total_steps"),
    "--runners": ("workers", "num_workers", "num_runners", "env_runners", "num_env_runners"),
    "--learners": ("num_learners",),
    "agent.learning_rate": ("lr",),
    "agent.gae_lambda": ("lambda",),
    "agent.entropy_coefficient": ("ent_coef", "entropy_coeff"),
    "agent.rollout_steps": ("n_steps", "num_steps"),
    "agent.epochs": ("n_epochs", "update_epochs"),
    "agent.minibatches": ("num_minibatches",),
    "wandb.project": ("wandb_project_name",),
}
"""What other trainers call an option or a key; underscores stand for dashes."""

SETTERS = ("set", "override", "param")
"""Options that take KEY=VALUE in other tools."""


class Parser(argparse.ArgumentParser):
    """A parser that raises UserError instead of printing its usage and exiting."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **kwargs,  # type: ignore[arg-type]
        )
        self.takes_settings = False
        """Whether the command accepts `--section.key VALUE`."""
        self.takes_command = False
        """Whether the command accepts another command behind `--`, as `options.job_command`."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(f"{message} (`{self.prog} --help` shows how)")


class Command(Protocol):
    """The contents of a command's module. Heavy imports belong inside its functions, so that `--help` stays fast."""

    SUMMARY: str
    """The command's line in `rlgns --help`."""

    DESCRIPTION: str
    """What `rlgns COMMAND --help` prints above the arguments, with examples."""

    def add_arguments(self, parser: Parser) -> None:
        """Adds the command's arguments to its parser."""

    def run(self, options: argparse.Namespace, overrides: Mapping[str, str]) -> int:
        """Runs the command and returns its exit code. Raises UserError and FaultError.

        Args:
            options: The parsed arguments.
            overrides: `section.key` to value; empty unless the parser takes settings.
        """


def parse(arguments: Sequence[str], commands: Mapping[str, Command]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Parses one command line.

    Args:
        arguments: The command line without the program's name.
        commands: The commands by name.

    Returns:
        The options, among them `command`, and the overrides, `section.key` to value.

    Raises:
        UserError: Unknown command or argument, with the nearest match; a value is missing.
    """
    parser, parsers = _build(commands)
    job_command: list[str] | None = None
    if arguments and arguments[0] in parsers and parsers[arguments[0]].takes_command and "--" in arguments:
        separator = arguments.index("--")
        arguments, job_command = arguments[:separator], list(arguments[separator + 1 :])
    others, overrides = split_overrides(arguments)
    if others and not others[0].startswith("-") and others[0] not in parsers:
        raise UserError(f"unknown command {others[0]!r}{nearest(others[0], parsers)}; `rlgns --help` lists them")
    options, unknown = parser.parse_known_args(others)
    if options.command is None:
        parser.error("which command?")
    command = parsers[options.command]
    if unknown:
        hint = _nearest_option(unknown[0], command)
        raise UserError(f"unknown argument {unknown[0]!r}{hint}; `{command.prog} --help` lists them")
    if overrides and not command.takes_settings:
        raise UserError(f"{command.prog} takes no settings such as --{next(iter(overrides))}")
    if command.takes_command:
        options.job_command = job_command
    return options, overrides


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Takes `--section.key VALUE` and `--section.key=VALUE` out of the arguments.

    Returns:
        The other arguments, and key to value.

    Raises:
        UserError: A key without a value, or given twice.
    """
    others: list[str] = []
    overrides: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        key, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or "." not in key:
            others.append(argument)
            continue
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"{argument} needs a value")
            value = rest.pop(0)
        if key in overrides:
            raise UserError(f"--{key} is given twice")
        overrides[key] = value
    return others, overrides


def _build(commands: Mapping[str, Command]) -> tuple[Parser, dict[str, Parser]]:
    """Returns the parser of the whole command line, and the parser of each command by name."""
    parser = Parser(prog="rlgns", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"rlgns {__version__}")
    group = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, command in commands.items():
        command.add_arguments(group.add_parser(name, help=command.SUMMARY, description=command.DESCRIPTION))
    return parser, dict(group.choices)


def _nearest_option(argument: str, parser: Parser) -> str:
    """Returns ' (did you mean X?)' for an unknown argument, or an empty string.

    X is the option or key of that meaning, else the key with that last part (`--num-envs`), else the nearest option by
    its letters.
    """
    options = [option for action in parser._actions for option in action.option_strings]
    argument = argument.partition("=")[0]
    if parser.takes_settings:
        from rlgns.config.load import all_keys

        key = argument.removeprefix("--").replace("-", "_")
        if key in SETTERS:
            return " (a setting is an argument itself: --section.key VALUE)"
        for dotted in all_keys():
            if key in (dotted.partition(".")[2], *OTHER_NAMES.get(dotted, ())):
                return f" (did you mean --{dotted}?)"
        argument = next((option for option in options if key in OTHER_NAMES.get(option, ())), argument)
    longer = [option for option in options if len(argument) > 2 and option.startswith(argument)]
    if longer:
        return f" (did you mean {longer[0]}?)"
    names = [option[2:] for option in options if option.startswith("--")]
    return nearest(argument.lstrip("-"), names).replace("mean ", "mean --")
