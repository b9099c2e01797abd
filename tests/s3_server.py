"""A real S3 server on the loopback: moto's."""

from __future__ import annotations

import logging
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
