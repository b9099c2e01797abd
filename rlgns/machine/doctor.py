"""Checks this machine: one finding per check, each with a remedy."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rlgns.errors import one_line
from rlgns.machine import hardware
from rlgns.machine.gpu_check import gpu_facts, gpu_remedy
from rlgns.machine.hardware import in_container

OK, WARN, FAIL = "ok", "warn", "fail"

INSTALL = "pip install 'rlgns[train]'"
"""Brings what is missing; in a checkout, `make train` does."""

_GIB = 2**30
_SMALL_MEMORY_GIB = 2.0
"""Driver 0.7 GiB, a runner 0.55, Ray's daemons 0.5: with less nothing starts."""
_TIGHT_MEMORY_GIB = 4.0
SMALL_SHM_GIB = 1.0
"""Rollouts travel through shared memory; Docker's default of 64 MiB makes Ray use /tmp, which is slow."""
_SMALL_DISK_GIB = 1.0
_RAY_PORTS = {6379: "head", 8265: "dashboard", 10001: "client"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The outcome of one check."""

    name: str
    """What was checked."""

    status: str
    """`ok`, `warn` (runs, but slower or poorer) or `fail` (a run would stop)."""

    text: str
    """What was found."""

    remedy: str = ""
    """What to do about it; empty where it is ok."""

    def describe(self) -> str:
        """Returns one line for people."""
        return f"{self.status:<5} {self.name:<10} {self.text}{'; ' + self.remedy if self.remedy else ''}"


def check_machine(out: Path) -> Iterator[Finding]:
    """Runs every check, cheap ones first. A check that raises becomes a failed finding.

    Args:
        out: Folder that runs would go to; it need not exist.
    """
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("python", check_python),
        ("versions", check_versions),
        ("memory", check_memory),
        ("shm", check_shared_memory),
        ("user", check_user),
        ("home", check_home),
        ("folder", lambda: check_folder(out)),
        ("ports", check_ports),
        ("roms", check_roms),
        ("torch", check_torch),
        ("wandb", check_wandb),
    )
    for name, check in checks:
        try:
            yield check()
        except Exception as failure:
            # the other checks must still run
            text = f"the check itself failed: {type(failure).__name__}: {one_line(failure)}"
            yield Finding(name=name, status=FAIL, text=text, remedy="install rlgns again (`make train` does)")


def check_python() -> Finding:
    """Reports the Python version. pip and make refuse older ones before this runs."""
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(name="python", status=OK, text=f"{version} in {sys.prefix}")


def check_versions() -> Finding:
    """Checks that the trainer's requirements are installed, in versions that they allow."""
    from rlgns.machine.requirements import COMPARED, trainer_requirements

    try:
        wanted = trainer_requirements()
    except importlib.metadata.PackageNotFoundError:
        return Finding(name="versions", status=WARN, text="rlgns is not installed", remedy=f"run `{INSTALL}`")
    found = {requirement.name: _version(requirement.name) for requirement in wanted}
    wrong = [
        f"{one.name} {found[one.name] or 'missing'} where {one.specifier} is needed"
        for one in wanted
        if not found[one.name] or not one.specifier.contains(found[one.name], prereleases=True)
    ]
    if wrong:
        return Finding(name="versions", status=FAIL, text=", ".join(wrong), remedy=f"run `{INSTALL}`")
    return Finding(name="versions", status=OK, text=", ".join(f"{name} {_version(name)}" for name in COMPARED))


def _version(name: str) -> str:
    """The installed version without its local part (+cpu, +cu128), which says how torch was built; or empty."""
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return ""


def check_memory() -> Finding:
    """Checks the memory for driver, Ray's daemons and rollouts."""
    import psutil

    usable, free = hardware.usable_memory() / _GIB, psutil.virtual_memory().available / _GIB
    text = f"{min(usable, free):.1f} GiB available of {usable:.1f}"
    if min(usable, free) < _SMALL_MEMORY_GIB:
        return Finding(name="memory", status=FAIL, text=text, remedy=f"needs at least {_SMALL_MEMORY_GIB:g} GiB")
    if min(usable, free) < _TIGHT_MEMORY_GIB:
        return Finding(name="memory", status=WARN, text=text, remedy="use few runners and environments")
    return Finding(name="memory", status=OK, text=text)


def check_shared_memory() -> Finding:
    """Checks the size of /dev/shm, which holds Ray's object store."""
    if not Path("/dev/shm").is_dir():
        return Finding(name="shm", status=OK, text="no /dev/shm on this system; Ray uses a file")
    total = shutil.disk_usage("/dev/shm").total / _GIB
    text = f"/dev/shm has {total:.1f} GiB"
    if total < SMALL_SHM_GIB:
        return Finding(name="shm", status=WARN, text=text, remedy="in Docker: --shm-size=4g, else runners are slow")
    return Finding(name="shm", status=OK, text=text)


def check_user() -> Finding:
    """Checks that a container does not run as root: files in a mounted folder could be deleted by root alone."""
    user = os.getuid() if hasattr(os, "getuid") else -1
    if not in_container():
        return Finding(name="user", status=OK, text=f"user {user}, not in a container")
    if user == 0:
        remedy = "use the image's own user, or --user $(id -u):$(id -g)"
        return Finding(name="user", status=WARN, text="root in a container", remedy=remedy)
    return Finding(name="user", status=OK, text=f"user {user} in a container")


def check_home() -> Finding:
    """Checks that Ray can read its token below the home folder, or make one: else it does not start."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return Finding(name="home", status=OK, text="Ray needs no token file")
    default = Path.home() / ".ray" / "auth_token"
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or default)
    remedy = "let HOME name a folder that this user can write"
    try:
        if token.is_file():
            token.read_bytes()
            return Finding(name="home", status=OK, text=f"{token} can be read")
        # Ray makes the token at the default place, whatever RAY_AUTH_TOKEN_PATH says
        folder = next(path for path in default.parents if path.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as failure:
        text = f"Ray's token cannot be read or written: {failure.filename or token}: {failure.strerror}"
        return Finding(name="home", status=FAIL, text=text, remedy=remedy)
    return Finding(name="home", status=OK, text=f"{folder} can be written")


def check_folder(out: Path) -> Finding:
    """Checks that the folder for runs, or its nearest parent that exists, can be written and has space."""
    folder = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as failure:
        text = f"{folder} cannot be written: {failure.strerror}"
        return Finding(name="folder", status=FAIL, text=text, remedy="name another folder with --out")
    free = shutil.disk_usage(folder).free / _GIB
    text = f"{folder} can be written, {free:.1f} GiB free"
    if free < _SMALL_DISK_GIB:
        return Finding(name="folder", status=WARN, text=text, remedy="make space for checkpoints")
    return Finding(name="folder", status=OK, text=text)


def check_ports() -> Finding:
    """Checks that local ports can be opened and Ray's usual ones are free."""
    try:
        with socket.create_server(("127.0.0.1", 0)):
            pass
    except OSError as failure:
        text = f"no port of 127.0.0.1 can be opened: {failure.strerror}"
        return Finding(name="ports", status=FAIL, text=text, remedy="allow local connections; Ray needs them")
    taken = [f"{port} ({what})" for port, what in _RAY_PORTS.items() if not _is_free(port)]
    if taken:
        text = f"in use: {', '.join(taken)}"
        return Finding(name="ports", status=WARN, text=text, remedy="another Ray may run here (`ray status`)")
    return Finding(name="ports", status=OK, text=f"free: {', '.join(str(port) for port in _RAY_PORTS)}")


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def check_roms() -> Finding:
    """Checks the ROM of every game by its checksum."""
    from ale_py import roms

    from rlgns.envs.games import GAMES

    missing = []
    # ale_py prints to standard output where ALE_ROMS_DIR is set
    with contextlib.redirect_stdout(io.StringIO()):
        for game in GAMES:
            try:
                found = roms.get_rom_path(game)
            except OSError:
                found = None
            if found is None:
                missing.append(game)
    if missing:
        where = os.environ.get("ALE_ROMS_DIR")
        remedy = "unset ALE_ROMS_DIR" if where else "install ale-py again"
        return Finding(name="roms", status=FAIL, text=f"missing or damaged: {', '.join(missing)}", remedy=remedy)
    return Finding(name="roms", status=OK, text=f"all {len(GAMES)} games")


def check_torch() -> Finding:
    """Reports the training device, torch's threads, bfloat16, and the compiled kernels."""
    import torch

    from rlgns.agents.compute import native

    machine = hardware.detect()
    text = f"{machine.describe()}, {torch.get_num_threads()} threads"
    if remedy := gpu_remedy(gpu_facts(machine.cores)):
        return Finding(name="torch", status=WARN, text=text, remedy=remedy)
    if not machine.gpu and not machine.bfloat16:
        return Finding(name="torch", status=WARN, text=text, remedy="trains in float32, about half as fast")
    if not machine.gpu and not machine.kernels and native.suits_processor():
        remedy = "trains a quarter slower than it could: apt install gcc libc6-dev, then `make clean train`"
        return Finding(name="torch", status=WARN, text=text, remedy=remedy)
    return Finding(name="torch", status=OK, text=text)


def check_wandb() -> Finding:
    """Reports whether runs go to W&B at once or stay offline for `wandb sync`."""
    from rlgns.monitor.wandb_login import logged_in

    if logged_in():
        return Finding(name="wandb", status=OK, text="logged in: runs are online")
    return Finding(name="wandb", status=OK, text="not logged in: runs are kept offline (`wandb login` changes that)")
