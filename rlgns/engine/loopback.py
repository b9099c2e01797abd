"""Keeps what remote learners exchange on this machine, where their Ray is on this machine alone."""

from __future__ import annotations

import importlib
import ipaddress
import os
import socket
import sys
from typing import Any

from torch.distributed import TCPStore


def keep_on_loopback(address: str) -> None:
    """Lets torch.distributed of this process listen on loopback alone, if this Ray node has an address there.

    By itself torch's store listens on all interfaces, whatever MASTER_ADDR says, and gloo on the one that has the
    host's name. Call it before the process joins a group.

    Args:
        address: IP address of this Ray node. A private Ray has 127.0.0.1; a cluster's nodes must reach each other.
    """
    if not ipaddress.ip_address(address).is_loopback:
        return
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    # torch.distributed has a function of the same name, which an import statement would find
    setattr(importlib.import_module("torch.distributed.rendezvous"), "TCPStore", store_at_its_host)  # noqa: B010


def store_at_its_host(host_name: str, port: int, world_size: int | None, is_master: bool, **settings: Any) -> TCPStore:
    """Returns torch's TCPStore of these arguments, whose server listens at the address `host_name` alone."""
    if is_master:
        settings["master_listen_fd"] = socket.create_server((host_name, port)).detach()  # the store closes it
    return TCPStore(host_name, port, world_size, is_master, **settings)
