"""Submitting to a cluster that answers too late: a real head behind a gateway that keeps its answers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from rlgns.errors import UserError
from rlgns.submit import client as client_module
from rlgns.submit.client import JobsClient
from tests.rlgns.submit.conftest import Head


@contextmanager
def gateway(head: str, *, forwards: bool) -> Iterator[str]:
    """Forwards requests, but answers those that submit a job only at the end; without `forwards` drops these."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            submits = self.command == "POST" and self.path == "/api/jobs/"
            if submits and not forwards:
                ended.wait()
                return
            headers = {"Content-Type": self.headers.get("Content-Type") or "application/json"}
            answer = requests.request(self.command, head + self.path, data=body, headers=headers, timeout=60)
            if submits:
                ended.wait()
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_DELETE = forward  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        ended.set()
        server.shutdown()


def test_a_job_that_was_taken_without_an_answer_is_found(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "READY_S", 10.0)
    with gateway(head.url, forwards=True) as url:
        assert JobsClient(url).submit_when_ready("taken", entrypoint="true", runtime_env={}) == "taken"
    assert JobsClient(head.url).get_job_info("taken").entrypoint == "true"


def test_a_job_that_was_not_taken_is_reported(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "READY_S", 0.5)
    with gateway(head.url, forwards=False) as url, pytest.raises(UserError, match="the cluster did not take the job"):
        JobsClient(url).submit_when_ready("lost", entrypoint="true", runtime_env={})
    with pytest.raises(RuntimeError, match="lost"):
        JobsClient(head.url).get_job_info("lost")
