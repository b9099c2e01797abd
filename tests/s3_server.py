"""A real S3 server on the loopback: moto's."""

from __future__ import annotations

import logging
import re
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

KEY_ID, SECRET = "AKIAPLANTEDKEYID", "planted-secret-of-the-store"


def environment(port: int) -> dict[str, str]:
    """What a user would set to reach the server."""
    return {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }


@contextmanager
def serving(port: int = 0) -> Iterator[int]:
    """Serves a bucket named `bucket`; yields the port (0: a free one). Within a process, buckets outlive servers."""
    server = pytest.importorskip("moto.server", reason="needs moto[s3], flask and flask-cors (pip install -e .[dev])")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    thread = server.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    thread.start()
    try:
        _, port = thread.get_host_and_port()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")
        urllib.request.urlopen(request).close()
        yield port
    finally:
        thread.stop()


class CutOff:
    """A link to a server of this machine that stops in the middle of a request, as a machine that loses its power does.

    Args:
        port: Of the server.
        request: Pattern of the request's first line.
        which: Which request of that kind stops; of each name the first counts.
    """

    def __init__(self, port: int, request: str, which: int) -> None:
        self._server, self._pattern, self._which = port, re.compile(request.encode()), which
        self._names: set[bytes] = set()
        self.reached = threading.Event()
        """The request has begun, and half of what was sent with its first line is through."""
        self._dead = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> CutOff:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._dead.set()
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(("127.0.0.1", self._server))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(source, target), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with source, target:
            try:
                while data := source.recv(2**16):
                    self._names |= set(self._pattern.findall(data))
                    if len(self._names) >= self._which:
                        target.sendall(data[: len(data) // 2])
                        self.reached.set()
                        self._dead.wait()
                        return
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)
            except OSError:  # the other end is gone
                return
