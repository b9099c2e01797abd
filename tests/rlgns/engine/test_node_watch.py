"""Reports of nodes that leave and join."""

from typing import Any

from rlgns.engine.node_watch import CHECK_EVERY_S, NodeWatch


def node(key: str, *, alive: bool = True, **resources: float) -> dict[str, Any]:
    """As in `ray.nodes`, where a dead node stays in the list without resources."""
    address = f"10.0.0.{ord(key) - ord('a') + 1}"
    return {"NodeID": key, "Alive": alive, "NodeManagerAddress": address, "Resources": resources if alive else {}}


def test_a_node_that_leaves_and_one_that_joins_are_reported_once() -> None:
    now, reported = 0.0, list[str]()
    nodes = [node("a", CPU=8.0, GPU=1.0), node("b", CPU=1.0)]
    watch = NodeWatch(lambda: nodes, reported.append, clock=lambda: now)
    now += CHECK_EVERY_S
    watch()
    assert reported == []  # nodes that were there at the start are no news
    nodes[1] = node("b", alive=False)
    now += CHECK_EVERY_S / 2
    watch()
    assert reported == []  # not yet: checks are some seconds apart
    for _ in range(2):
        now += CHECK_EVERY_S
        watch()
    assert reported == ["cluster: lost node 10.0.0.2 (1 CPU); a run that used it continues when another node has room"]
    nodes += [node("c", CPU=2.0, GPU=2.0), node("d", memory=1e9)]
    for _ in range(2):
        now += CHECK_EVERY_S
        watch()
    assert sorted(reported[1:]) == [
        "cluster: new node 10.0.0.3 (2 CPUs, 2 GPUs)",
        "cluster: new node 10.0.0.4 (no CPUs)",
    ]


def test_a_node_replaced_between_two_checks_is_reported() -> None:
    now, reported = 0.0, list[str]()
    nodes = [node("a", CPU=1.0)]
    watch = NodeWatch(lambda: nodes, reported.append, clock=lambda: now)
    nodes[:] = [node("a", alive=False), node("b", CPU=1.0)]
    now += CHECK_EVERY_S
    watch()
    assert [line.split(";")[0] for line in reported] == [
        "cluster: lost node 10.0.0.1 (1 CPU)",
        "cluster: new node 10.0.0.2 (1 CPU)",
    ]
