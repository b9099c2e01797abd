"""Submits a command as a Ray job, or attaches to one, and follows it to its end."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from rlgns.errors import ExitCode, FaultError, UserError, one_line
from rlgns.machine.commit import source_commit
from rlgns.submit import package
from rlgns.submit.client import JobsClient, jobs_url, told_in_a_line
from rlgns.submit.follower import JobFollower

PROBE_S = 120.0
"""Seconds that the cluster has to say what it has installed."""


def submit(command: Sequence[str], *, address: str | None, games: Sequence[str], wait: bool = True) -> int:
    """Submits `rlgns COMMAND` and follows it.

    Args:
        command: Checked arguments, the first of which is `train` or the like.
        address: Of the Jobs API, or None: see `rlgns.submit.client.jobs_url`.
        games: By which the job is named.
        wait: False: return once it is submitted.

    Returns:
        The exit status of the command, or 0 where it is not waited for.

    Raises:
        UserError: No cluster there, one that cannot run this, or a command that does not suit it.
        FaultError: The cluster was lost while following.
    """
    name = f"{'-'.join(games[:3])}-{time.strftime('%Y%m%d-%H%M%S')}"
    client = _connect(address)
    runtime_env: dict[str, Any] = {"env_vars": package.environment_of_job(source_commit())}
    with tempfile.TemporaryDirectory(prefix="rlgns-job-") as scratch:
        folder = Path(scratch)
        line = package.entrypoint(package.pack(command, folder), name)
        package.refuse_secrets(line, folder)
        with told_in_a_line(client.url):
            lacking = _missing(client)
        if lacking:
            _say(f"the cluster lacks {', '.join(lacking)}: pip installs that for this job first, which takes a while")
            runtime_env["pip"] = lacking
        runtime_env["working_dir"] = str(folder)
        job = client.begin(
            entrypoint=line,
            submission_id=f"rlgns-{name}-{secrets.token_hex(2)}",
            runtime_env=runtime_env,
            metadata={"rlgns": metadata.version("rlgns"), "commit": source_commit()},
        )
    follower = JobFollower(client, job, _say)
    _say(f"job {job} at {client.url}; attach to it again with: {follower.again()}")
    _say("the login of this machine at W&B is not sent along; the job uses that of the cluster's nodes")
    return follower.follow() if wait else ExitCode.DONE


def attach(job: str, *, address: str | None) -> int:
    """Follows a job that was submitted before. Returns and raises as `submit`."""
    client = _connect(address)
    follower = JobFollower(client, job, _say)
    with told_in_a_line(client.url):
        try:
            client.get_job_info(job)
        except RuntimeError as error:
            known = ", ".join(sorted(str(details.submission_id) for details in client.list_jobs())[-5:])
            raise UserError(f"there is no job {job!r} at {client.url}; its jobs: {known or 'none'}") from error
        return follower.follow(attach=True)


def _connect(address: str | None) -> JobsClient:
    logging.getLogger("ray").setLevel(logging.ERROR)  # Ray's own lines, of uploads and versions, say nothing new
    for module in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{module}").setLevel(logging.ERROR)
    client = JobsClient(jobs_url(address, os.environ))
    if client.url.startswith("http://") and os.environ.get("RAY_AUTH_MODE") != "token":
        _say(f"warning: {client.url} asks for no password: whoever reaches it can run any command on the cluster")
    return client


def _missing(client: JobsClient) -> list[str]:
    """Asks the cluster for what it has installed. Returns what pip must add. Raises UserError and FaultError."""
    probe = client.begin(entrypoint=f'exec python -c "{package.PROBE}"', runtime_env={})
    deadline = time.monotonic() + PROBE_S
    while not (info := client.get_job_info(probe)).status.is_terminal():
        if time.monotonic() > deadline:
            client.stop_job(probe)
            raise FaultError(f"{client.url}: the cluster began no job within {PROBE_S:g} s; see `ray status` there")
        time.sleep(0.2)
    answer = package.parse_probe(client.get_job_logs(probe))
    client.delete_job(probe)
    if answer is None:
        raise UserError(f"{client.url}: the cluster cannot run Python: {one_line(info.message)[:300]}")
    python, found = answer
    wanted = metadata.version("ray")
    if found.get("ray") != wanted:
        raise UserError(f"{client.url}: the cluster has ray {found.get('ray')} where rlgns needs {wanted}")
    if tuple(int(part) for part in python.split(".")) < (3, 11):
        raise UserError(f"{client.url}: the cluster has Python {python} where rlgns needs 3.11 or newer")
    return package.missing(found)  # Ray itself is there, as just found


def _say(text: str) -> None:
    print(f"rlgns: {text}", file=sys.stderr, flush=True)  # noqa: T201
