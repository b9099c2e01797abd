"""The program `rlgns`: runs one command; errors become one line on standard error and an exit code.

Imports nothing heavy: torch and Ray are imported by the commands that need them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from rlgns.commands import (
    calibrate,
    config,
    doctor,
    evaluate,
    fit,
    games,
    report,
    schedule,
    submit,
    sweep,
    train,
    workspace,
)
from rlgns.commands.parser import Command, parse
from rlgns.errors import ExitCode, FaultError, TerminatedError, UserError, one_line
from rlgns.extras import lacks_trainer
from rlgns.monitor.stop_signals import CODES, catch, leave_lost_terminal, restored

COMMANDS: dict[str, Command] = {
    "train": train,
    "sweep": sweep,
    "config": config,
    "evaluate": evaluate,
    "calibrate": calibrate,
    "report": report,
    "fit": fit,
    "schedule": schedule,
    "submit": submit,
    "workspace": workspace,
    "games": games,
    "doctor": doctor,
}
"""Every command, in the order of `rlgns --help`."""

WITHOUT_TRAINER = ("fit", "games", "schedule")
"""Commands that need what `pip install rlgns` brings and no more."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, sys.argv by default, and returns its exit code."""
    # OpenMP threads that spin while they wait turn 3 s into 40 s on a busy machine; read when torch is loaded
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        options, overrides = parse(sys.argv[1:] if arguments is None else arguments, COMMANDS)
        _check_working_directory()
        lack = "" if options.command in WITHOUT_TRAINER else lacks_trainer(f"rlgns {options.command}")
        if lack:
            raise UserError(lack)
        with _terminable():
            code = COMMANDS[options.command].run(options, overrides)
            sys.stdout.flush()
        return code
    except UserError as mistake:
        print(f"rlgns: {one_line(mistake)}", file=sys.stderr)
        return ExitCode.USER_ERROR
    except FaultError as fault:
        print(f"rlgns: {one_line(fault)}", file=sys.stderr)
        return ExitCode.FAULT
    except TerminatedError as stop:
        print("rlgns: terminated", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        print("rlgns: interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # `rlgns games | head` has read all it wants; without this, Python complains when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE


def _check_working_directory() -> None:
    """Raises UserError where the working directory was removed: relative paths mean nothing, libraries fail to load."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError("the working directory has been removed; change to another one with `cd`") from error


@contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the block as Ctrl-C does: files are closed and Ray's processes ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with restored():
        catch(_terminate, interrupts=False)
        yield


def _terminate(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGHUP:
        leave_lost_terminal()
    raise TerminatedError(CODES[signal.Signals(number)])
