"""Reports nodes that leave or join a cluster while runs train on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

CHECK_EVERY_S = 2.0
"""Seconds between two checks, each a call to the cluster's head."""


@final
class NodeWatch:
    """Compares the nodes that are alive with those of the last check.

    An iteration that has lost a runner with its node waits without limit for room on another node. The user should
    know what it waits for.
    """

    def __init__(
        self,
        nodes: Callable[[], Sequence[Mapping[str, Any]]],
        report: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Notes the nodes that are alive.

        Args:
            nodes: `ray.nodes`.
            report: Called with a line for each node that left or joined.
            clock: Seconds that only go forward.
        """
        self._nodes, self._report, self._clock = nodes, report, clock
        self._alive = self._check()

    def __call__(self) -> None:
        """Checks again, unless the last check is more recent than CHECK_EVERY_S."""
        if self._clock() < self._next_s:
            return
        alive = self._check()
        before, self._alive = self._alive, alive
        for key in before.keys() - alive.keys():
            self._report(f"cluster: lost node {before[key]}; a run that used it continues when another node has room")
        for key in alive.keys() - before.keys():
            self._report(f"cluster: new node {alive[key]}")

    def _check(self) -> dict[str, str]:
        self._next_s = self._clock() + CHECK_EVERY_S
        return {node["NodeID"]: _described(node) for node in self._nodes() if node["Alive"]}


def _described(node: Mapping[str, Any]) -> str:
    """Returns '10.0.0.7 (8 CPUs, 1 GPU)'."""
    counts = [(unit, node["Resources"].get(unit, 0)) for unit in ("CPU", "GPU")]
    has = ", ".join(f"{count:g} {unit}{'' if count == 1 else 's'}" for unit, count in counts if count)
    return f"{node['NodeManagerAddress']} ({has or 'no CPUs'})"
