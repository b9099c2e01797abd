"""Tells of a cluster's nodes that go and come while runs train on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

LOOK_EVERY_S = 2.0
"""Seconds between two looks, each a call to the cluster's head."""


@final
class NodeWatch:
    """Compares the nodes that are alive with those of the last look.

    An iteration that has lost a runner with its node waits for room elsewhere without limit; whoever watches should
    know what it waits for.
    """

    def __init__(
        self,
        nodes: Callable[[], Sequence[Mapping[str, Any]]],
        tell: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes note of the nodes that are there.

        Args:
            nodes: `ray.nodes`.
            tell: Gets a line for each node that went or came.
            clock: Seconds that only go forward.
        """
        self._nodes, self._tell, self._clock = nodes, tell, clock
        self._alive = self._look()

    def __call__(self) -> None:
        """Looks again, where the last look is long enough ago."""
        if self._clock() < self._next_s:
            return
        alive = self._look()
        before, self._alive = self._alive, alive
        for key in before.keys() - alive.keys():
            self._tell(f"cluster: lost node {before[key]}; a run that used it goes on as soon as another node has room")
        for key in alive.keys() - before.keys():
            self._tell(f"cluster: new node {alive[key]}")

    def _look(self) -> dict[str, str]:
        self._next_s = self._clock() + LOOK_EVERY_S
        return {node["NodeID"]: _described(node) for node in self._nodes() if node["Alive"]}


def _described(node: Mapping[str, Any]) -> str:
    """Returns '10.0.0.7 (8 CPUs, 1 GPU)'."""
    counts = [(unit, node["Resources"].get(unit, 0)) for unit in ("CPU", "GPU")]
    has = ", ".join(f"{count:g} {unit}{'' if count == 1 else 's'}" for unit, count in counts if count)
    return f"{node['NodeManagerAddress']} ({has or 'no CPUs'})"
