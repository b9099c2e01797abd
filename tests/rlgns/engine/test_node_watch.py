"""What is told of nodes that go and come."""

from typing import Any

from rlgns.engine.node_watch import CHECK_EVERY_S, NodeWatch


def node(key: str, *, alive: bool = True, **resources: float) -> dict[str, Any]:
    """As `ray.nodes` gives it; a dead one stays in the list, without resources."""
    address = f"10.0.0.{ord(key) - ord('a') + 1}"
    return {"NodeID": key, "Alive": alive, "NodeManagerAddress": address, "Resources": resources if alive else {}}


def test_a_node_that_goes_and_one_that_comes_are_told_once() -> None:
    now, told = 0.0, list[str]()
    nodes = [node("a", CPU=8.0, GPU=1.0), node("b", CPU=1.0)]
    watch = NodeWatch(lambda: nodes, told.append, clock=lambda: now)
    now += CHECK_EVERY_S
    watch()
    assert told == []  # those of the start are nobody's news
    nodes[1] = node("b", alive=False)
    now += CHECK_EVERY_S / 2
    watch()
    assert told == []  # not yet: the head is not asked all the time
    for _ in range(2):
        now += CHECK_EVERY_S
        watch()
    assert told == ["cluster: lost node 10.0.0.2 (1 CPU); a run that used it continues when another node has room"]
    nodes += [node("c", CPU=2.0, GPU=2.0), node("d", memory=1e9)]
    for _ in range(2):
        now += CHECK_EVERY_S
        watch()
    assert sorted(told[1:]) == [
        "cluster: new node 10.0.0.3 (2 CPUs, 2 GPUs)",
        "cluster: new node 10.0.0.4 (no CPUs)",
    ]


def test_a_node_that_is_replaced_between_two_looks_is_told() -> None:
    now, told = 0.0, list[str]()
    nodes = [node("a", CPU=1.0)]
    watch = NodeWatch(lambda: nodes, told.append, clock=lambda: now)
    nodes[:] = [node("a", alive=False), node("b", CPU=1.0)]
    now += CHECK_EVERY_S
    watch()
    assert [line.split(";")[0] for line in told] == [
        "cluster: lost node 10.0.0.1 (1 CPU)",
        "cluster: new node 10.0.0.2 (1 CPU)",
    ]
