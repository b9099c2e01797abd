#!/usr/bin/env python3
"""The image's health check: a Ray node runs in this container and its head answers. Prints a line, exits with 0 or 1.

Arguments are ports of this container that must answer too (8265: the Jobs API). Uses the standard library only: it runs
every few seconds beside training, and importing Ray would cost a core-second each time.
"""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

TIMEOUT_S = 5.0


def raylet() -> list[str] | None:
    """Returns the command line of this container's Ray node manager, or None."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        if Path(arguments[0]).name == "raylet":
            return arguments
    return None


def answers(host: str, port: int) -> bool:
    """Returns whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S):
            return True
    except OSError:
        return False


def examine(ports: list[int]) -> tuple[bool, str]:
    """Returns whether the container is healthy, and a line about it."""
    arguments = raylet()
    if arguments is None:
        return False, "no Ray node in this container"
    match = re.search(r"--gcs-address=(\S+):(\d+)", " ".join(arguments))
    if match is None:
        return False, "the Ray node names no head"
    host, port = match[1].strip("[]"), int(match[2])
    if not answers(host, port):
        return False, f"the head at {host}:{port} does not answer"
    silent = [str(port) for port in ports if not answers("127.0.0.1", port)]
    if silent:
        return False, f"nothing answers at port {', '.join(silent)}"
    return True, f"Ray node up, head at {host}:{port} answers"


def main() -> int:
    """Prints the line and returns the exit code."""
    healthy, text = examine([int(port) for port in sys.argv[1:]])
    print(text)  # noqa: T201
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
