"""A client for the Jobs API of a cluster, with a time limit for every request."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, final
from urllib.parse import urlsplit

import requests
from ray.job_submission import JobSubmissionClient

from rlgns.errors import FaultError, UserError, one_line

PORT = 8265
"""Port of Ray's dashboard and Jobs API."""

TIMEOUT_S = 20.0
READY_S = 120.0
"""Seconds that a cluster has to take a job: a new one is not ready at once, a busy one answers late."""

_RAY_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def jobs_url(address: str | None, environment: Mapping[str, str]) -> str:
    """Returns the URL of the Jobs API.

    Args:
        address: What the user gave: a URL, or a host with or without a port; None: RAY_API_SERVER_ADDRESS, else the
            host of RAY_ADDRESS (its port belongs to the head, which takes no jobs there), else this machine.
        environment: For example `os.environ`.

    Raises:
        UserError: Not an address.
    """
    source, named = "--address", address
    for variable in _RAY_VARIABLES:
        if named is None and environment.get(variable):
            source, named = variable, environment[variable]
    if named is None or (source != "--address" and named in ("auto", "local")):
        return f"http://127.0.0.1:{PORT}"
    try:
        parts = urlsplit(named if "://" in named else f"http://{named}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.username or parts.scheme not in ("http", "https", "ray"):
        raise UserError(f"{source}: {named!r} is not an address; allowed: http://HOST:{PORT}, HOST:{PORT} or HOST")
    plain = source == "RAY_ADDRESS" and "://" not in named
    if parts.scheme == "ray" or plain:  # the port is another one of the head's
        port = PORT
    host = f"[{host}]" if ":" in host else host
    scheme = "https" if parts.scheme == "https" else "http"
    default = 443 if scheme == "https" else PORT
    return f"{scheme}://{host}:{port or default}{parts.path.rstrip('/')}"


@final
class JobsClient(JobSubmissionClient):
    """Ray's client for one URL, which the environment does not override and where no request waits forever."""

    def __init__(self, url: str) -> None:
        """Connects.

        Raises:
            UserError: Nothing answers there, it is not Ray, or it wants a token and got none.
        """
        self.url = url
        self._timeout_s = TIMEOUT_S
        _probe(url)
        try:
            with _without_variables(_RAY_VARIABLES):
                super().__init__(url)
        except Exception as error:
            raise UserError(f"{url}: {one_line(error)}") from error

    def submit_when_ready(self, submission_id: str, **job: Any) -> str:
        """Submits a job as `submit_job` does, and waits for a cluster that takes no jobs yet or answers late.

        Returns:
            The job's submission id.

        Raises:
            UserError: The cluster refused it, or was not ready in time.
        """
        deadline = time.monotonic() + READY_S
        while True:
            try:
                return self._submit(submission_id, **job)
            except Exception as error:
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise UserError(f"{self.url}: the cluster did not take the job: {one_line(error)[:300]}") from error
            time.sleep(1)

    def _submit(self, submission_id: str, **job: Any) -> str:
        self._timeout_s = READY_S
        try:
            return self.submit_job(submission_id=submission_id, **job)
        except requests.Timeout:
            # It may have taken the job: without this question the job would run and nobody would know
            self._timeout_s = TIMEOUT_S
            with suppress(RuntimeError):
                self.get_job_info(submission_id)
                return submission_id
            raise
        finally:
            self._timeout_s = TIMEOUT_S

    def _do_request(self, *arguments: Any, **options: Any) -> Any:
        # Ray 2.60 sets no time limit on its requests: with the network cut they would wait forever.
        options.setdefault("timeout", self._timeout_s)
        return super()._do_request(*arguments, **options)


def _probe(url: str) -> None:
    """Checks within seconds, without Ray's retries, that Ray answers. Raises UserError."""
    hint = f"name the head's dashboard with --address http://HOST:{PORT}"
    try:
        answer = requests.get(f"{url}/api/version", timeout=TIMEOUT_S / 2)
    except requests.Timeout as error:
        raise UserError(f"{url}: no answer within {TIMEOUT_S / 2:g} s; {hint}") from error
    except requests.RequestException as error:
        raise UserError(f"{url}: nothing answers there; {hint}") from error
    if answer.status_code in (401, 403):
        # Ray's client sends the token that its variables name, and reports what is wrong with it
        if os.environ.get("RAY_AUTH_MODE") != "token":
            raise UserError(f"{url}: the cluster asks for a token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH")
        return
    try:
        answer.json()["ray_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{url}: the answer there is not that of Ray's dashboard; {hint}") from error


@contextmanager
def connection_errors_as_faults(url: str) -> Iterator[None]:
    """Raises FaultError where the connection breaks in the block."""
    try:
        yield
    except requests.RequestException as error:
        raise FaultError(f"{url}: the connection was lost: {one_line(error)[:300]}") from error


@contextmanager
def _without_variables(names: tuple[str, ...]) -> Iterator[None]:
    removed = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(removed)
