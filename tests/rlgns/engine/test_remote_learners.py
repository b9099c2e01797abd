"""Remote learners on real Ray: the same run as one learner, resumed with any number; rollouts played ahead."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.exceptions import RayActorError

from rlgns.config.load import to_yaml
from rlgns.engine.algorithm import AtariPPO
from rlgns.engine.learner import _solve
from rlgns.engine.learner_group import _failures
from rlgns.engine.run_settings import TrialSpec
from rlgns.machine.nodes import nodes_of_cluster
from rlgns.machine.placement import Placement, TrialShare
from rlgns.storage import checkpoint
from rlgns.storage.run_folder import RunFolder
from tests.rlgns.engine.tiny import build, tiny
from tests.row_check import check_row


def assert_same_state(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert after["noise"] == before["noise"]
    for name, value in before["network"].items():
        assert torch.equal(after["network"][name], value), name
    for key, state in before["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(after["optimizer"]["state"][key][name], value), name


@pytest.mark.usefixtures("local_ray")
def test_two_learners_train_the_run_of_one_and_any_number_goes_on_until_one_is_killed(tmp_path: Path) -> None:
    one = build(tiny(), tmp_path / "one")
    expected = [one.train()["row"] for _ in range(2)]
    one.stop()

    two = build(tiny(runners=2, learners=2), tmp_path / "two")  # two runners play as two threads of one process
    rows = [two.train()["row"] for _ in range(2)]
    saved = two._state()["learner"]
    two.stop()
    timed = ("seconds", "throughput/", "noise/overhead_fraction")
    for alone, together in zip(expected, rows, strict=True):
        check_row(together)
        assert together.keys() == alone.keys()
        for key, value in alone.items():
            if not key.startswith(timed) and isinstance(value, float):
                assert together[key] == pytest.approx(value, rel=1e-3, abs=1e-6), key

    resumed = build(tiny(), tmp_path / "two")
    assert_same_state(saved, resumed._state()["learner"])
    assert resumed.train()["row"]["iteration"] == 3
    saved = resumed._state()["learner"]
    resumed.stop()

    again = build(tiny(learners=2), tmp_path / "two")  # now the trial's own process plays for them
    assert_same_state(saved, again._state()["learner"])
    pids = [result.get() for result in again.learner_group.foreach_learner(lambda learner: os.getpid())]
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(RuntimeError, match="learner 1 of 2 died or failed"):
        again.train()
    again.stop()
    assert [row["iteration"] for row in RunFolder(tmp_path / "two").rows()] == [1, 2, 3]
    assert [path.name for path in checkpoint.numbered(tmp_path / "two" / "checkpoints")] == ["00000002", "00000003"]


@pytest.mark.usefixtures("local_ray")
def test_rollouts_played_ahead_are_one_update_old_and_say_so(tmp_path: Path) -> None:
    algorithm = build(tiny(runners=1, async_lag=1), tmp_path)
    versions = []
    update = algorithm._learners.local.update

    def noting(**given: Any) -> dict[str, Any]:
        played = _solve(given["training_data"].batch_refs)
        versions.append([(part.weights_version, given["timesteps"]["version"]) for part in played])
        return update(**given)

    algorithm._learners.local.update = noting  # type: ignore[assignment]
    for _ in range(4):
        algorithm.train()
    assert not algorithm._runners.is_ahead  # no rollout is played that nobody learns from
    algorithm.stop()
    rows = RunFolder(tmp_path).rows()
    for row in rows:
        check_row(row)
    assert versions == [[(0, 0)], [(0, 1)], [(1, 2)], [(2, 3)]]
    assert [row["policy_lag"] for row in rows] == [0, 1, 1, 1]


@pytest.mark.cluster
def test_processes_are_spread_over_three_nodes_and_train(tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster
    from ray.util.placement_group import placement_group_table, remove_placement_group

    assert not ray.is_initialized()
    config = tiny(runners=2, learners=2)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        share = TrialShare.of(nodes_of_cluster(), 1)
        assert [node.cpus for node in share.nodes] == [2, 2, 2]
        placement = Placement.of(config, share)
        assert (placement.learner_cpus, placement.runner_cpus) == (2, 1)
        trial = TrialSpec(game="pong", num_actions=6, folder=str(tmp_path), placement=placement)
        group = AtariPPO.default_resource_request({"run_config": config, "trial_config": trial})()
        assert group.wait(60)
        table = placement_group_table(group)
        where = {
            cpus: [table["bundles_to_node_id"][n] for n, b in table["bundles"].items() if b.get("CPU") == cpus]
            for cpus in (1, 2)
        }
        assert len(where[2]) == len(set(where[2])) == 2  # each learner fills a node
        assert len(where[1]) == 2 and len({*where[1], *where[2]}) == 3  # and the runners have the third
        remove_placement_group(group)
        (tmp_path / "tiny.yaml").write_text(to_yaml(config))
        command = [
            sys.executable,
            "-m",
            "rlgns",
            "train",
            "--config",
            str(tmp_path / "tiny.yaml"),
            "--out",
            str(tmp_path / "run"),
        ]
        environment = {**os.environ, "RAY_ADDRESS": cluster.address, "WANDB_MODE": "disabled"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        assert [row["iteration"] for row in RunFolder(tmp_path / "run").rows()] == [1, 2, 3, 4]
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.usefixtures("local_ray")
def test_a_death_is_reported_rather_than_the_failure_that_it_caused() -> None:
    @ray.remote
    class Part:
        def fail(self) -> None:
            raise OSError("connection reset")

        def die(self) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        def answer(self) -> int:
            return 3

    parts = [Part.remote() for _ in range(3)]
    assert _failures([part.answer.remote() for part in parts]) == {}
    failed = _failures([parts[0].fail.remote(), parts[1].answer.remote()])
    assert [type(error).__name__ for error in failed.values()] == ["RayTaskError(OSError)"]
    failed = _failures([parts[0].fail.remote(), parts[2].answer.remote(), parts[1].die.remote()])
    assert isinstance(failed[2], RayActorError)
