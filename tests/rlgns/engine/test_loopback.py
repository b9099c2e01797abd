"""Where torch's store listens; tests/rlgns/engine/test_ray_session.py has a real training with remote learners."""

from __future__ import annotations

import importlib
import os
import socket
from datetime import timedelta

import psutil
import pytest
from torch.distributed import TCPStore

from rlgns.engine.loopback import keep_on_loopback, store_at_its_host

SECONDS = timedelta(seconds=60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def addresses(port: int) -> set[str]:
    return {
        found.laddr.ip
        for found in psutil.Process().net_connections()
        if found.status == psutil.CONN_LISTEN and found.laddr.port == port
    }


def test_the_store_listens_at_its_host_alone_and_is_reached_there() -> None:
    port = free_port()
    server = store_at_its_host("127.0.0.1", port, 2, True, timeout=SECONDS, wait_for_workers=False, multi_tenant=True)
    assert addresses(port) == {"127.0.0.1"}
    client = store_at_its_host("127.0.0.1", port, 2, False, timeout=SECONDS)
    client.set("key", "value")
    assert server.get("key") == b"value"


def test_torchs_own_store_listens_everywhere() -> None:
    """Where this fails, torch has changed, and `store_at_its_host` can go."""
    port = free_port()
    _server = TCPStore("127.0.0.1", port, 1, True, timeout=SECONDS)
    assert addresses(port) - {"127.0.0.1", "::1"}


def test_nodes_of_a_cluster_and_variables_of_the_user_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rendezvous = importlib.import_module("torch.distributed.rendezvous")
    monkeypatch.setattr(rendezvous, "TCPStore", TCPStore)  # put back at the end
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    keep_on_loopback("192.0.2.1")
    assert rendezvous.TCPStore is TCPStore
    assert "GLOO_SOCKET_IFNAME" not in os.environ
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    keep_on_loopback("127.0.0.1")
    assert rendezvous.TCPStore is store_at_its_host
    assert os.environ["GLOO_SOCKET_IFNAME"] == "eth7"
