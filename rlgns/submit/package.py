"""Packs what a job takes along: rlgns, configurations and the command; nothing of this machine's environment."""

from __future__ import annotations

import importlib.metadata
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from rlgns.config.files import presets, sweeps
from rlgns.config.load import resolve, to_yaml
from rlgns.errors import UserError
from rlgns.storage.remote_folder import is_url
from rlgns.sweep.load import standalone

CONFIG_FOLDER = "submitted"
"""Folder, in the package, of the configuration file that the command names."""

STOP_WAIT_S = 300
"""Seconds that a stopped job has to finish its iteration and save before Ray kills it (Ray's default: 3)."""


def environment_of_job(commit: str) -> dict[str, str]:
    """Returns the environment variables of a job. It gets none of the submitting machine's.

    They must hold no key: Ray shows them on the dashboard and keeps them with the job. They must name no variable that
    training passes to `ray.init`: Ray refuses that even where the values are equal.
    """
    return ({"RLGNS_COMMIT": commit} if commit else {}) | {  # an image has its own commit
        # The first Ctrl-C finishes the iteration and saves. W&B's process ignores SIGINT, but not SIGTERM.
        "RAY_JOB_STOP_SIGNAL": "SIGINT",
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
    }


def pack(command: Sequence[str], folder: Path) -> list[str]:
    """Copies rlgns, its configurations and the file behind `--config` into an empty folder.

    Args:
        command: For example `["train", "--config", "mine.yaml"]`.
        folder: Becomes the job's working directory.

    Returns:
        The command as it is to be run in that folder.

    Raises:
        UserError: The configuration file cannot be read.
    """
    home = Path(__file__).resolve().parents[2]
    without = shutil.ignore_patterns(
        "__pycache__", "*.pyc", "*.c", "*.h"
    )  # the compiled kernels go along, their source does not
    shutil.copytree(home / "rlgns", folder / "rlgns", ignore=without)  # links become folders
    shutil.copytree(next(iter(presets().values())).parents[1], folder / "configs", ignore=without)
    about = importlib.metadata.distribution("rlgns")
    inside = folder / f"rlgns-{about.version}.dist-info"  # tells Python the version and the requirements of rlgns
    inside.mkdir()
    (inside / "METADATA").write_text(about.read_text("METADATA") or about.read_text("PKG-INFO") or "")
    of_sweep = command[0] == "sweep"
    return [
        _pack_config(argument, before, folder, of_sweep=of_sweep)
        for before, argument in zip(["", *command], command, strict=False)
    ]


def _pack_config(argument: str, before: str, folder: Path, *, of_sweep: bool) -> str:
    """Returns the argument. Where it names a file after `--config`, copies the file and returns its new path."""
    prefix, name = "", argument
    if argument.startswith("--config="):
        prefix, name = "--config=", argument.removeprefix("--config=")
    elif before != "--config":
        return argument
    if name in (sweeps() if of_sweep else presets()):
        return argument
    text = standalone(name) if of_sweep else to_yaml(resolve([name]))  # its bases merged in, for they stay behind
    target = folder / CONFIG_FOLDER / f"{Path(name).stem}.yaml"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)
    return f"{prefix}{target.relative_to(folder)}"


def entrypoint(command: Sequence[str], name: str) -> str:
    """Returns the shell line of a job. Unless --out is given, its run goes below RLGNS_RUNS, a variable of the nodes.

    Raises:
        UserError: `--out` or `--resume` is relative, and a job's working directory is deleted with the job.
    """
    words = [shlex.quote(word) for word in command]
    if not names_a_folder(command):
        words += ["--out", f'"${{RLGNS_RUNS:-$HOME/runs}}/{name}"']
    return " ".join(["exec", "python", "-m", "rlgns", *words])  # exec: signals go to Python, not to a shell


def names_a_folder(command: Sequence[str]) -> bool:
    """Returns whether a command has `--out DIR` or `--resume DIR`; the URL of a mirror is none.

    Raises UserError where the folder is relative.
    """
    folders = [
        (option, path) for option in ("--out", "--resume") if (path := option_value(command, option)) is not None
    ]
    for option, path in folders:
        if option == "--resume" and is_url(path):  # the mirror of a run, which gets a new folder
            continue
        if not path.startswith("/"):
            raise UserError(
                f"{option} {path} is relative; name an absolute folder that all nodes of the cluster share, "
                "for example /shared/runs/pong"
            )
    return not all(is_url(path) for _, path in folders)


def option_value(command: Sequence[str], option: str) -> str | None:
    """Returns the value of `--option VALUE` or `--option=VALUE`, or None."""
    for before, argument in zip(["", *command], command, strict=False):
        if before == option:
            return argument
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return None


def sent_texts(line: str, folder: Path) -> dict[str, str]:
    """Returns what a job takes along of the user's: its shell line and its configuration file, by name."""
    files = sorted((folder / CONFIG_FOLDER).glob("*"))
    return {"the command": line} | {path.name: path.read_text() for path in files}
