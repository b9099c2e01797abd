"""What travels with a job: our packages and configurations, the command; nothing of this machine's environment."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rlgns.config.files import presets, sweeps
from rlgns.config.load import resolve, to_yaml
from rlgns.errors import UserError
from rlgns.sweep.load import standalone

CONFIG_FILE = "submitted"
"""Folder, in what travels, of the configuration file that the command names."""

STOP_WAIT_S = 300
"""Seconds that a stopped job has to end its iteration and save before Ray kills it (Ray's own default is 3)."""

HEADLESS = {"opencv-python": "opencv-python-headless"}
"""The same library of the same version without windows, which would bring X11 and OpenGL into an image."""

_SECRET_NAMES = ("API_KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIALS")
_SHORTEST_SECRET = 8

PROBE = (
    "import importlib.metadata as m, json, sys; "
    "print('RLGNS' + json.dumps({'python': '%d.%d' % sys.version_info[:2], "
    "'found': {d.name: d.version for d in m.distributions() if d.name}}))"
)
"""Run on the cluster, prints Python's version and every distribution's."""


def environment_of_job(commit: str) -> dict[str, str]:
    """Returns the environment variables of a job: these, and none of the submitting machine's.

    Ray shows them to whoever sees the dashboard, and keeps them with the job: no place for a key. None may be one that
    training gives to `ray.init`, which Ray refuses even where the values are equal.
    """
    return {
        "RLGNS_COMMIT": commit,
        # Our first Ctrl-C ends the iteration and saves; W&B's process ignores this signal and not SIGTERM.
        "RAY_JOB_STOP_SIGNAL": "SIGINT",
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S),
    }


def pack(command: Sequence[str], folder: Path) -> list[str]:
    """Copies what a job needs into an empty folder: packages, configurations, and the file behind `--config`.

    Args:
        command: For example `["train", "--config", "mine.yaml"]`.
        folder: Becomes the job's working directory.

    Returns:
        The command as it must be given there.

    Raises:
        UserError: The configuration file cannot be read.
    """
    home = Path(__file__).resolve().parents[2]
    without = shutil.ignore_patterns("__pycache__", "*.pyc", "*.c", "*.h")  # compiled kernels travel, sources do not
    shutil.copytree(home / "rlgns", folder / "rlgns", ignore=without)  # its links become folders
    shutil.copytree(next(iter(presets().values())).parents[1], folder / "configs", ignore=without)
    about = importlib.metadata.distribution("rlgns")
    inside = folder / f"rlgns-{about.version}.dist-info"  # by which Python knows version and requirements of rlgns
    inside.mkdir()
    (inside / "METADATA").write_text(about.read_text("METADATA") or about.read_text("PKG-INFO") or "")
    of_sweep = command[0] == "sweep"
    return [
        _packed_config(argument, before, folder, of_sweep=of_sweep)
        for before, argument in zip(["", *command], command, strict=False)
    ]


def _packed_config(argument: str, before: str, folder: Path, *, of_sweep: bool) -> str:
    """The argument, or where it names a file after `--config`, that file's new place."""
    prefix, name = "", argument
    if argument.startswith("--config="):
        prefix, name = "--config=", argument.removeprefix("--config=")
    elif before != "--config":
        return argument
    if name in (sweeps() if of_sweep else presets()):
        return argument
    text = standalone(name) if of_sweep else to_yaml(resolve([name]))  # with all its bases, which stay behind
    target = folder / CONFIG_FILE / f"{Path(name).stem}.yaml"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text)
    return f"{prefix}{target.relative_to(folder)}"


def entrypoint(command: Sequence[str], name: str) -> str:
    """Returns the shell line of a job. Its run goes below RLGNS_RUNS, a variable of the nodes, unless --out is given.

    Raises:
        UserError: `--out` or `--resume` is relative: a job's folder is deleted with the job.
    """
    words = [shlex.quote(word) for word in command]
    folders = [
        (option, path) for option in ("--out", "--resume") if (path := option_value(command, option)) is not None
    ]
    for option, path in folders:
        if not path.startswith("/"):
            raise UserError(
                f"{option} {path} is relative; on a cluster name an absolute folder that all nodes share, "
                "for example /shared/runs/pong"
            )
    if not folders:
        words += ["--out", f'"${{RLGNS_RUNS:-$HOME/runs}}/{name}"']
    return " ".join(["exec", "python", "-m", "rlgns", *words])  # exec: signals go to Python, not to a shell


def option_value(command: Sequence[str], option: str) -> str | None:
    """Returns what follows `--option`, in either spelling, or None."""
    for before, argument in zip(["", *command], command, strict=False):
        if before == option:
            return argument
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return None


def missing(found: Mapping[str, str], requirements: Sequence[str] | None = None) -> list[str]:
    """Returns the requirements of rlgns that a cluster does not meet.

    Args:
        found: Versions by distribution, on the cluster.
        requirements: As in METADATA; None: those of rlgns.
    """
    have: dict[str, str] = {canonicalize_name(name): version.partition("+")[0] for name, version in found.items()}
    have |= {whole: have[headless] for whole, headless in HEADLESS.items() if headless in have}
    texts = importlib.metadata.requires("rlgns") or [] if requirements is None else requirements
    own = [requirement for requirement in map(Requirement, texts) if _applies(requirement)]
    lacking = [requirement for requirement in own if not _met(requirement, have)]
    parts = [part for whole in own if whole not in lacking for part in _of_extras(whole)]
    lacking += [part for part in parts if not _met(part, have)]
    named: dict[str, Requirement] = {}
    for one in lacking:  # one that is ours and an extra's too: as we ask for it
        named.setdefault(canonicalize_name(one.name), one)
    return [f"{one.name}{_extras(one)}{one.specifier}" for one in named.values()]


def _met(requirement: Requirement, have: Mapping[str, str]) -> bool:
    version = have.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _applies(requirement: Requirement, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _of_extras(requirement: Requirement) -> list[Requirement]:
    """What a distribution needs for the extras that are asked for: one that is there may be there without them."""
    try:
        parts = [Requirement(text) for text in importlib.metadata.requires(requirement.name) or []]
    except importlib.metadata.PackageNotFoundError:
        return []
    return [
        part for part in parts for extra in sorted(requirement.extras) if not _applies(part) and _applies(part, extra)
    ]


def _extras(requirement: Requirement) -> str:
    return f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""


def refuse_secrets(line: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Makes sure that no key of this machine's environment is in what would travel and be shown.

    Raises:
        UserError: It is; names the variable, never its value.
    """
    texts = {"the command": line}
    for path in sorted((folder / CONFIG_FILE).glob("*")):
        texts[path.name] = path.read_text()
    for name, value in (os.environ if environment is None else environment).items():
        if len(value) < _SHORTEST_SECRET or not any(part in name.upper() for part in _SECRET_NAMES):
            continue
        for where, text in texts.items():
            if value in text:
                raise UserError(
                    f"{where} holds the value of {name}, which everyone on the cluster could read; leave it out, and "
                    "log in on the cluster's nodes (docs/cluster.md)"
                )


def parse_probe(log: str) -> tuple[str, dict[str, str]] | None:
    """Returns Python's version and the distributions that a probe printed, or None where its log has no answer."""
    for line in log.splitlines():
        if line.startswith("RLGNS{"):
            answer = json.loads(line.removeprefix("RLGNS"))
            return answer["python"], answer["found"]
    return None
