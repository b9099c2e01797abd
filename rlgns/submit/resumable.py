"""A job that is started again by the cluster resumes its run: `python -m rlgns.submit.resumable train ... --out DIR`.

For schedulers that repeat a job's command as it is, as KubeRay does. Where DIR is lost and the run has a mirror, it
resumes from there. A sweep needs none of this: the same command resumes it.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rlgns.errors import UserError
from rlgns.storage.mirror_restore import check_complete, holds_run
from rlgns.storage.remote_folder import is_url
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
    resume = option_value(words, "--resume")
    module = "rlgns.submit.resumable" if words[0] == "train" and (resume is None or is_url(resume)) else "rlgns"
    return f"exec python -m {module} {shlex.join(words)}"  # exec: signals go to Python, not to a shell


def resumed(command: Sequence[str]) -> list[str]:
    """Returns the command that resumes what `train ... --out DIR` has left, on as many runners and learners.

    From DIR, or from the mirror where DIR holds no run. Where neither does, that is the command itself.
    """
    out = option_value(command, "--out")
    if out is None:
        return list(command)
    layout = [f"{name}={value}" for name in LAYOUT if (value := option_value(command, name))]
    with suppress(UserError):  # there is no run yet, or half of one
        check_complete(Path(out))
        if RunFolder.find(out):
            return ["train", "--resume", out, *layout]
    for mirror in ("--mirror", "--output.mirror"):
        if (url := option_value(command, mirror)) and holds_run(url):
            return ["train", "--resume", url, "--out", out, *layout]
    return list(command)


if __name__ == "__main__":
    os.execv(sys.executable, [sys.executable, "-m", "rlgns", *resumed(sys.argv[1:])])
