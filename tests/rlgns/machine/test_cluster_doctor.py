"""The doctor on clusters: findings from made-up reports, and from real nodes."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest

from rlgns.machine import cluster_doctor
from rlgns.machine.cluster_doctor import NodeReport
from rlgns.machine.doctor import FAIL, OK, WARN
from rlgns.machine.requirements import COMPARED

GOOD = NodeReport(
    name="a (10.0.0.1)",
    gpus=0,
    versions=cluster_doctor._versions(list(COMPARED)),
    shm_gib=4.0,
    sees_mark=True,
    write_error="",
)


def changed(**fields: object) -> list[NodeReport]:
    return [GOOD, dataclasses.replace(GOOD, name="b (10.0.0.2)", **fields)]  # type: ignore[arg-type]


def test_an_address_where_nothing_answers_is_reported_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, but nobody listens
        with pytest.raises(OSError, match="refused"):
            cluster_doctor.knock(f"127.0.0.1:{unused.getsockname()[1]}")
        unused.listen()
        cluster_doctor.knock(f"ray://127.0.0.1:{unused.getsockname()[1]}")
    cluster_doctor.knock("auto")


def test_a_different_version_on_one_node_is_named() -> None:
    assert cluster_doctor.check_versions_equal([GOOD]).status == OK
    finding = cluster_doctor.check_versions_equal(changed(versions=GOOD.versions | {"ale-py": "0.10"}))
    assert finding.status == FAIL
    assert finding.text.startswith("b (10.0.0.2) has ale-py 0.10 where this process has ")


def test_small_shared_memory_on_one_node_is_named() -> None:
    assert cluster_doctor.check_shared_memory([GOOD]).status == OK
    finding = cluster_doctor.check_shared_memory(changed(shm_gib=0.0625))
    assert finding.status == WARN and "b (10.0.0.2) 0.06 GiB" in finding.text


def test_a_folder_that_is_not_shared_is_named() -> None:
    assert cluster_doctor.check_shared_folder([GOOD], Path("/r")).status == OK
    assert (
        "b (10.0.0.2) has a different one"
        in cluster_doctor.check_shared_folder(changed(sees_mark=False), Path("/r")).text
    )
    finding = cluster_doctor.check_shared_folder(changed(write_error="Permission denied"), Path("/r"))
    assert finding.status == FAIL and "b (10.0.0.2) cannot write it: Permission denied" in finding.text


def test_a_gpu_with_torch_for_the_cpu_is_named() -> None:
    wrong = GOOD.versions | {"torch": "2.13.0+cpu"}
    assert cluster_doctor.check_gpus(changed(gpus=0, versions=wrong)).status == OK
    assert cluster_doctor.check_gpus(changed(gpus=1, versions=wrong)).status == WARN


def test_real_nodes_are_examined(local_ray: None, tmp_path: Path) -> None:
    findings = list(cluster_doctor.check_cluster("auto", tmp_path / "runs"))
    assert [finding.name for finding in findings] == ["cluster", "equal", "node shm", "shared", "gpus"]
    assert findings[0].text.startswith("1 node, 2 CPUs, 0 GPUs")
    assert {finding.status for finding in findings if finding.name in ("cluster", "equal", "shared")} == {OK}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.cluster
def test_three_nodes_are_examined(tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    assert not ray.is_initialized()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        findings = list(cluster_doctor.check_cluster(cluster.address, tmp_path))
        assert findings[0].text.startswith("3 nodes, 3 CPUs")
        assert "3 nodes" in next(finding for finding in findings if finding.name == "shared").text
    finally:
        ray.shutdown()
        cluster.shutdown()
