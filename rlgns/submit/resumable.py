"""A job that is started again by the cluster resumes its run: `python -m rlgns.submit.resumable train ... --out DIR`.

For schedulers that repeat a job's command as it is, as KubeRay does. A sweep needs none of this: the same command
resumes it.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress

from rlgns.errors import UserError
from rlgns.storage.run_folder import RunFolder
from rlgns.submit.package import names_a_folder, option_value

LAYOUT = ("--runners", "--learners", "--engine.runners", "--engine.learners")
"""Options that may be given with `--resume`."""


def resumable_entrypoint(command: Sequence[str], out: str) -> str:
    """Returns the shell line of a job that may be started again; without `--out` or `--resume` its run goes to `out`.

    The line holds neither variables nor operators of a shell. KubeRay pastes it into a shell of another pod, where
    variables have other values.

    Raises:
        UserError: `--out` or `--resume` is relative.
    """
    words = list(command) if names_a_folder(command) else [*command, "--out", out]
    module = "rlgns.submit.resumable" if words[0] == "train" and option_value(words, "--resume") is None else "rlgns"
    return f"exec python -m {module} {shlex.join(words)}"  # exec: signals go to Python, not to a shell


def resumed(command: Sequence[str]) -> list[str]:
    """Returns the command that resumes what `train ... --out DIR` has left in DIR, on as many runners and learners.

    Where there is no run in DIR, that is the command itself.
    """
    out = option_value(command, "--out")
    with suppress(UserError):  # there is no run yet
        if out is not None and RunFolder.find(out):
            layout = {name: option_value(command, name) for name in LAYOUT}
            return ["train", "--resume", out, *(f"{name}={value}" for name, value in layout.items() if value)]
    return list(command)


if __name__ == "__main__":
    os.execv(sys.executable, [sys.executable, "-m", "rlgns", *resumed(sys.argv[1:])])
