"""Connects to Ray: the one this process uses, a cluster, or a private Ray that only this user can reach."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray._private import parameter, ray_constants, services, worker

from rlgns.errors import FaultError, UserError, last_line
from rlgns.machine.hardware import usable_cores
from rlgns.storage.files import create_atomically


class RayLostError(BaseException):
    """A private Ray has lost one of its processes. No handler of errors in Tune catches it: each would wait for Ray."""


Lost = Callable[[], str]
"""Returns which process of a private Ray has died, in words, or an empty string."""

NODE_PROCESSES = {"raylet": "its node process (raylet)", "gcs_server": "its control process (gcs_server)"}
"""Processes without which a private Ray cannot go on, as Ray names them."""


@contextmanager
def connected(scratch: Path) -> Iterator[Lost]:
    """Connects to the Ray this process uses already, to the cluster at RAY_ADDRESS, or starts a private one.

    Args:
        scratch: Folder for the files of a private Ray.

    Raises:
        UserError: No cluster answers at RAY_ADDRESS.
        FaultError: Ray does not start on this machine.
    """
    os.environ |= {
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a fault is reported in one line; the queue gets its traceback
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a box even with verbose 0
    }
    if ray.is_initialized():
        yield lambda: ""
        return
    # Threads that spin at a barrier block other processes: one busy neighbour made iterations ten times slower.
    runtime_env = {"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}}
    common: dict[str, Any] = {"runtime_env": runtime_env, "logging_level": logging.ERROR, "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS")
    if address:
        try:
            ray.init(address=address, **common)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"RAY_ADDRESS: no Ray cluster answers at {address!r} ({last_line(error)})") from error
    else:
        _start(common, scratch)
    for name, level in (("ray.rllib", logging.ERROR), ("ray.tune", logging.CRITICAL), ("ray.train", logging.ERROR)):
        logging.getLogger(name).setLevel(level)  # the relay reports the errors of trials
    try:
        yield (lambda: "") if address else _lost
    finally:
        _stop(lost=not address and bool(_lost()))


def _start(common: Mapping[str, Any], scratch: Path, attempts: int = 3) -> None:
    """Starts Ray on this machine; a very busy machine may need more than the 30 seconds that Ray allows."""
    # Without a dashboard nobody reads Ray's metrics, and collecting them makes its daemons grow.
    os.environ.setdefault("RAY_enable_metrics_collection", "0")
    keep_token_private(Path.home() / ".ray" / "auth_token")
    for attempt in range(1, attempts + 1):
        try:
            with _on_loopback(), _daemons_in_groups_of_their_own(), _fewer_daemons():
                # "local": ignore another Ray on this machine, unless RAY_ADDRESS names it
                ray.init(
                    address="local",
                    num_cpus=usable_cores(),
                    include_dashboard=False,
                    _temp_dir=str(scratch / "ray"),
                    **common,
                )
            return
        except Exception as error:  # Ray raises a bare Exception
            ray.shutdown()
            if attempt == attempts:
                raise FaultError(f"Ray does not start on this machine ({last_line(error)})") from error


def _stop(*, lost: bool) -> None:
    """Leaves Ray, and ends a private one; `lost`: one of its processes has died."""
    node: Any = worker._global_node
    if lost and node is not None:  # its other processes would wait for the dead one, and Ray for them
        node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
    ray.shutdown()


@contextmanager
def _daemons_in_groups_of_their_own() -> Iterator[None]:
    """Keeps from Ray's daemons what is sent to our process group: `timeout` and Slurm send SIGTERM to all of it.

    A daemon that ended then would take the trials with it before they save. The kernel ends the daemons when this
    process dies (PR_SET_PDEATHSIG), so they need not be in its group.
    """
    popen = services.ConsolePopen
    setattr(services, "ConsolePopen", partial(popen, process_group=0))  # noqa: B010  (mypy: a class is no variable)
    try:
        yield
    finally:
        setattr(services, "ConsolePopen", popen)  # noqa: B010


@contextmanager
def _fewer_daemons() -> Iterator[None]:
    """Starts no autoscaler, since one machine does not grow, and nothing that reads logs, since nobody gets them.

    Ray's `init` has no option for it. Each is a Python process that imports Ray.
    """
    whole: Any = parameter.RayParams  # it takes a bool where it is annotated with str
    setattr(parameter, "RayParams", partial(whole, no_monitor=True, include_log_monitor=False))  # noqa: B010
    try:
        yield
    finally:
        setattr(parameter, "RayParams", whole)  # noqa: B010


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Lets a Ray that starts in the block listen on 127.0.0.1 alone, as it does by itself on macOS and Windows."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def keep_token_private(path: Path) -> None:
    """Lets nobody but this user read the token of Ray, which makes it readable for all. Makes it where it is missing.

    Args:
        path: Where Ray keeps it. Nothing is done where a variable names another token, or none is asked for.
    """
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    with suppress(OSError):  # then Ray says what is wrong with the home folder
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            create_atomically(path, secrets.token_hex(32).encode(), mode=0o600)
        status = path.stat()
        if status.st_uid == os.getuid() and status.st_mode & 0o077:
            path.chmod(0o600)


def _lost() -> str:
    node = worker._global_node
    dead: set[str] = {kind for kind, _ in node.dead_processes()} if node is not None else set()
    return " and ".join(text for kind, text in NODE_PROCESSES.items() if kind in dead)
