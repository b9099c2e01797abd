"""Submits a command as a Ray job, or attaches to a job, and follows it to its end."""

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
from rlgns.submit.client import JobsClient, connection_errors_as_faults, jobs_url
from rlgns.submit.follower import JobFollower
from rlgns.submit.requirements import PROBE, missing_requirements, parse_probe
from rlgns.submit.secret_check import refuse_secrets

PROBE_S = 120.0
"""Seconds that the cluster has to report what it has installed."""


def submit(command: Sequence[str], *, address: str | None, games: Sequence[str], wait: bool = True) -> int:
    """Submits `rlgns COMMAND` and follows it.

    Args:
        command: Checked arguments of rlgns, from the command's name on, for example `["train", "--game", "pong"]`.
        address: Of the Jobs API, or None: see `rlgns.submit.client.jobs_url`.
        games: The job is named after them.
        wait: Whether to follow the job; False: return once it is submitted.

    Returns:
        The exit status of the command, or 0 where the job is not followed.

    Raises:
        UserError: No cluster answers, it cannot run rlgns, or the command does not suit a cluster.
        FaultError: The connection to the cluster was lost.
    """
    name = f"{'-'.join(games[:3])}-{time.strftime('%Y%m%d-%H%M%S')}"
    client = _connect(address)
    runtime_env: dict[str, Any] = {"env_vars": package.environment_of_job(source_commit())}
    with tempfile.TemporaryDirectory(prefix="rlgns-job-") as scratch:
        folder = Path(scratch)
        line = package.entrypoint(package.pack(command, folder), name)
        refuse_secrets(package.sent_texts(line, folder))
        with connection_errors_as_faults(client.url):
            missing = _missing_requirements(client)
        if missing:
            _say(f"the cluster lacks {', '.join(missing)}: pip installs them for this job first, which takes a while")
            runtime_env["pip"] = missing
        runtime_env["working_dir"] = str(folder)
        job = client.submit_when_ready(
            f"rlgns-{name}-{secrets.token_hex(2)}",
            entrypoint=line,
            runtime_env=runtime_env,
            metadata={"rlgns": metadata.version("rlgns"), "commit": source_commit()},
        )
    follower = JobFollower(client, job, _say)
    _say(f"job {job} at {client.url}; attach to it again with: {follower.attach_command()}")
    _say("this machine's W&B login is not sent along; the job uses that of the cluster's nodes")
    return follower.follow() if wait else ExitCode.DONE


def attach(job: str, *, address: str | None) -> int:
    """Follows a job that was submitted earlier. Returns and raises as `submit` does."""
    client = _connect(address)
    follower = JobFollower(client, job, _say)
    with connection_errors_as_faults(client.url):
        try:
            client.get_job_info(job)
        except RuntimeError as error:
            known = ", ".join(sorted(str(details.submission_id) for details in client.list_jobs())[-5:])
            raise UserError(f"there is no job {job!r} at {client.url}; its jobs: {known or 'none'}") from error
        return follower.follow(attach=True)


def _connect(address: str | None) -> JobsClient:
    logging.getLogger("ray").setLevel(logging.ERROR)  # Ray's lines about uploads and versions repeat ours
    for module in ("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk", "_private.runtime_env.packaging"):
        logging.getLogger(f"ray.{module}").setLevel(logging.ERROR)
    client = JobsClient(jobs_url(address, os.environ))
    if client.url.startswith("http://") and os.environ.get("RAY_AUTH_MODE") != "token":
        _say(f"warning: {client.url} asks for no password: whoever reaches it can run any command on the cluster")
    return client


def _missing_requirements(client: JobsClient) -> list[str]:
    """Asks the cluster what it has installed. Returns what pip must add. Raises UserError and FaultError."""
    asked = f"rlgns-probe-{secrets.token_hex(4)}"
    probe = client.submit_when_ready(asked, entrypoint=f'exec python -c "{PROBE}"', runtime_env={})
    deadline = time.monotonic() + PROBE_S
    while not (info := client.get_job_info(probe)).status.is_terminal():
        if time.monotonic() > deadline:
            client.stop_job(probe)
            raise FaultError(f"{client.url}: the cluster started no job within {PROBE_S:g} s; see `ray status` there")
        time.sleep(0.2)
    answer = parse_probe(client.get_job_logs(probe))
    client.delete_job(probe)
    if answer is None:
        raise UserError(f"{client.url}: the cluster cannot run Python: {one_line(info.message)[:300]}")
    python, found = answer
    wanted = metadata.version("ray")
    if found.get("ray") != wanted:
        raise UserError(f"{client.url}: the cluster has ray {found.get('ray')} where rlgns needs {wanted}")
    if tuple(int(part) for part in python.split(".")) < (3, 11):
        raise UserError(f"{client.url}: the cluster has Python {python} where rlgns needs 3.11 or newer")
    return missing_requirements(found)


def _say(text: str) -> None:
    print(f"rlgns: {text}", file=sys.stderr, flush=True)  # noqa: T201
