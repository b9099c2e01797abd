"""The command `rlgns`: parses arguments, runs a command, turns mistakes into one line and an exit code.

Imports nothing heavy: torch and Ray are imported by the commands that need them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from rlgns.commands.parser import Parser, make_parser
from rlgns.errors import ExitCode, FaultError, UserError, nearest, one_line

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
"""What other trainers' users call an option or a key, dashes as underscores."""

SETTERS = ("set", "override", "param")
"""Arguments that in other tools take KEY=VALUE."""


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


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Returns the parsed command and its overrides. Raises UserError with the nearest match of what is unknown."""
    parser, commands = make_parser()
    remote: list[str] | None = None
    if arguments[:1] == ["submit"] and "--" in arguments:
        here = arguments.index("--")
        arguments, remote = arguments[:here], list(arguments[here + 1 :])
    others, overrides = split_overrides(arguments)
    if others and not others[0].startswith("-") and others[0] not in commands:
        raise UserError(f"unknown command {others[0]!r}{nearest(others[0], commands)}; `rlgns --help` lists them")
    options, unknown = parser.parse_known_args(others)
    if options.command is None:
        parser.error("which command?")
    if unknown:
        command = commands[options.command]
        hint = _nearest_option(unknown[0], command)
        raise UserError(f"unknown argument {unknown[0]!r}{hint}; `{command.prog} --help` lists them")
    if overrides and options.command not in ("train", "sweep", "config"):
        raise UserError(f"rlgns {options.command} takes no settings such as --{next(iter(overrides))}")
    if remote is not None:
        options.remote = remote
    return options, overrides


def _nearest_option(argument: str, parser: Parser) -> str:
    """The command's option of that meaning, the key whose last part it is (`--num-envs`), or the nearest by letters."""
    options = [option for action in parser._actions for option in action.option_strings]
    argument = argument.partition("=")[0]
    if "--config" in options:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns the exit code: 0 done, 2 the user's mistake, 3 a fault, 130 interrupted."""
    # OpenMP threads that spin while they wait turn 3 s into 40 s on a busy machine; read when torch is loaded
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        options, overrides = parse(arguments)
        from rlgns.commands import bodies as commands

        code = commands.run(options, overrides)
        sys.stdout.flush()
        return code
    except UserError as mistake:
        print(f"rlgns: {one_line(mistake)}", file=sys.stderr)
        return ExitCode.USER_ERROR
    except FaultError as fault:
        print(f"rlgns: {one_line(fault)}", file=sys.stderr)
        return ExitCode.FAULT
    except KeyboardInterrupt:
        print("rlgns: interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # `rlgns games | head`: the reader has all it wanted; Python would complain again when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
