"""The two ways in which a command fails, the exit codes of all commands, and errors as one line of text."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable

LONGEST_LINE = 1000
"""Most characters of an error that are shown: it may quote a whole file."""


class ExitCode(enum.IntEnum):
    """Exit status of `rlgns`, whatever the command."""

    DONE = 0
    USER_ERROR = 2
    """The user's mistake; nothing was trained."""

    FAULT = 3
    """Stopped early by a fault, after saving."""

    HUNG_UP = 129
    """Stopped because its terminal is gone (SIGHUP: a closed ssh session), after saving."""

    INTERRUPTED = 130
    """Stopped by the user, after saving."""

    TERMINATED = 143
    """Stopped by the system (SIGTERM: Slurm, `docker stop`, Kubernetes), after saving."""


class UserError(Exception):
    """The user's mistake, described in one line: the value, what is allowed, the nearest match."""


class FaultError(Exception):
    """Something outside the program failed during a run: a full disk, a lost cluster. What was trained is saved."""


class TerminatedError(KeyboardInterrupt):
    """The system asks the program to stop now (SIGTERM, SIGHUP). Passes through whatever lets Ctrl-C pass.

    Args:
        code: TERMINATED or HUNG_UP.
    """

    def __init__(self, code: ExitCode = ExitCode.TERMINATED) -> None:
        super().__init__()
        self.code = code


def nearest(value: str, allowed: Iterable[str]) -> str:
    """Returns ' (did you mean X?)' for the allowed name closest to `value`, or an empty string."""
    matches = difflib.get_close_matches(value[:LONGEST_LINE].lower(), list(allowed), n=1, cutoff=0.5)
    return f" (did you mean {matches[0]}?)" if matches else ""


def one_line(error: object) -> str:
    """Returns the text of an error in one line, or the name of its type where it has no text.

    Characters that cannot be printed become escapes (a terminal obeys some of them), and the middle of a text of more
    than LONGEST_LINE characters is left out.
    """
    words = " ".join(str(error).split()) or type(error).__name__
    if len(words) > LONGEST_LINE:
        words = f"{words[: LONGEST_LINE // 2]} ... {words[-LONGEST_LINE // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


def last_line(error: object) -> str:
    """Returns the last line of an error, where a traceback names its cause, or the name of its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
