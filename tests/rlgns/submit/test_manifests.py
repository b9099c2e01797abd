"""Cluster files: valid by the published schemas and sized by the configuration."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml

from rlgns.commands import cli
from rlgns.config.load import resolve
from rlgns.submit import manifests
from rlgns.submit.cluster_size import ClusterSize, cluster_size
from rlgns.sweep.load import resolve_sweep

COMMAND = ["train", "--game", "pong", "--runners", "16"]


def size(**settings: object) -> ClusterSize:
    return cluster_size(resolve(["ppo"], {"env.num_envs": 64, **settings}))


def size_of_sweep(tmp_path: Path, *, learning_rates: int = 3, largest: int = 1024, **settings: str) -> ClusterSize:
    """Returns the size for a sweep of six batches, the largest of which has four times `largest` / 16 environments."""
    file = tmp_path / "sweep.yaml"
    batches = [largest >> power for power in range(6)]
    file.write_text(
        "base: quick\nrun: {games: [pong]}\nagent: {rollout_steps: 16, minibatches: 4, anneal: false}\n"
        f"sweep: {{batches: {batches}, learning_rates: {learning_rates}}}\n"
    )
    return cluster_size(resolve_sweep(file, settings))


def strict(schema: Any) -> Any:
    """Returns a copy of a schema that forbids fields it does not name, so that a misspelt one fails."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {key: strict(value) for key, value in schema.items()}
    if isinstance(copy.get("properties"), dict) and not copy.get("x-kubernetes-preserve-unknown-fields"):
        copy.setdefault("additionalProperties", False)
    return copy


def test_ray_up_file_is_valid_by_rays_own_schema() -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    cluster = yaml.safe_load(manifests.ray_cluster(COMMAND, size(**{"engine.runners": 16}), "rlgns:latest"))
    jsonschema.validate(cluster, schema)
    assert len(cluster["provider"]["worker_ips"]) == cluster["max_workers"] == 2
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][1]
    cluster["dokcer"] = {}
    with pytest.raises(jsonschema.ValidationError, match="dokcer"):
        jsonschema.validate(cluster, schema)


@pytest.mark.skipif("KUBERAY_CRD" not in os.environ, reason="KUBERAY_CRD names no ray.io_rayjobs.yaml of KubeRay")
def test_rayjob_is_valid_by_kuberays_schema(tmp_path: Path) -> None:
    crd = yaml.safe_load(Path(os.environ["KUBERAY_CRD"]).read_text())
    schema = strict(next(v for v in crd["spec"]["versions"] if v["name"] == "v1")["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    job = yaml.safe_load(
        manifests.ray_job(COMMAND, size(**{"engine.runners": 16, "engine.device": "cuda"}), "rlgns:cuda")
    )
    jsonschema.validate(job, schema)
    fits = size_of_sweep(tmp_path, **{"engine.device": "cuda"})
    swept = yaml.safe_load(manifests.ray_job(["sweep", "--config", "breakout-quick"], fits, "rlgns:cuda"))
    jsonschema.validate(swept, schema)
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(job, schema)


def test_rayjob_has_room_for_every_runner() -> None:
    job = yaml.safe_load(manifests.ray_job(COMMAND, size(**{"engine.runners": 16}), "rlgns:latest"))
    assert job["apiVersion"] == "ray.io/v1" and job["kind"] == "RayJob"
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == ray.__version__
    (group,) = cluster["workerGroupSpecs"]
    cpus = int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert group["replicas"] * cpus >= 16
    for template in (cluster["headGroupSpec"]["template"], group["template"]):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == volumes
    assert job["spec"]["entrypoint"].endswith("--runners 16 --out /home/rlgns/runs/pong")


def test_rayjob_asks_for_a_token_and_resumes_when_it_is_retried() -> None:
    job = yaml.safe_load(manifests.ray_job(COMMAND, size(), "rlgns:latest"))["spec"]
    assert job["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert job["backoffLimit"] > 0
    assert "-m rlgns.submit.resumable train " in job["entrypoint"]
    assert "RLGNS_COMMIT" not in job["runtimeEnvYAML"]  # the image has its own


@pytest.mark.parametrize(("parallel", "trials"), [("0", 18), ("12", 12), ("5", 5), ("999", 18)])
def test_a_sweeps_cluster_has_a_core_for_every_concurrent_trial(tmp_path: Path, parallel: str, trials: int) -> None:
    fits = size_of_sweep(tmp_path, **{"sweep.parallel": parallel})  # 6 batches x 3 learning rates
    command = ["sweep", "--config", "breakout-quick"]
    cluster = yaml.safe_load(manifests.ray_job(command, fits, "x"))["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    cpus = int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert 0 <= group["replicas"] * cpus - trials < cpus and cpus <= 8
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"  # the driver alone: no trial runs there
    up = yaml.safe_load(manifests.ray_cluster(command, fits, "x"))
    assert up["max_workers"] == group["replicas"] == len(up["provider"]["worker_ips"])
    assert "--num-cpus=0 " in up["head_start_ray_commands"][1]
    assert f"--num-cpus={cpus} " in up["worker_start_ray_commands"][1]


def test_a_sweeps_memory_grows_with_its_environments_and_its_gpus_with_its_trials(tmp_path: Path) -> None:
    small, large = size_of_sweep(tmp_path), size_of_sweep(tmp_path, learning_rates=4, largest=16384)
    assert (small.workers, small.worker_cpus, small.worker_gib) == (
        3,
        6,
        math.ceil(2 + 6 * (1.5 + 256 / 1024)),
    )  # 256 environments
    assert (large.workers, large.worker_cpus, large.worker_gib) == (3, 8, 2 + 8 * (1.5 + 4))  # 4,096 environments
    fits = size_of_sweep(tmp_path, **{"sweep.parallel": "4", "engine.device": "cuda"})
    job = yaml.safe_load(manifests.ray_job(["sweep", "--config", "breakout-quick"], fits, "x"))
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    pod = group["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 4
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert "nvidia.com/gpu" not in head["containers"][0]["resources"]["limits"] and "tolerations" not in head


def test_without_runners_there_are_no_workers() -> None:
    assert yaml.safe_load(manifests.ray_job(["train"], size(), "x"))["spec"]["rayClusterSpec"]["workerGroupSpecs"] == []
    assert yaml.safe_load(manifests.ray_cluster(["train"], size(), "x"))["max_workers"] == 0


@pytest.mark.parametrize("character", ["\n", "\r", "\x85", "\u2028", "\x1b"])
@pytest.mark.parametrize("kind", ["ray-cluster.yaml", "rayjob.yaml"])
def test_no_argument_leaves_the_comment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, character: str
) -> None:
    command = ["train", "--run.name", f"a{character}setup_commands: [touch /tmp/x]"]
    assert cli.main(["submit", "--write", str(tmp_path / kind), "--", *command]) == 2
    assert capsys.readouterr().err.startswith("rlgns: --write: 'a")
    assert not (tmp_path / kind).exists()


def test_the_comment_has_the_command_as_a_shell_takes_it() -> None:
    text = manifests.ray_cluster(["train", "--run.name", "a b; # $HOME"], size(), "x")
    assert "rlgns submit -- train --run.name 'a b; # $HOME'\n" in text


def test_files_are_all_written_or_all_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    up, job = tmp_path / "ray-cluster.yaml", tmp_path / "mine-rayjob.yaml"
    assert cli.main(["submit", "--write", str(up), str(job), "--", *COMMAND, "--env.num_envs", "64"]) == 0
    assert capsys.readouterr().out == f"{up}\n{job}\n"
    assert cli.main(["submit", "--write", str(up), "--", *COMMAND, "--env.num_envs", "64"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert cli.main(["submit", "--write", str(tmp_path / "rayjbo.yaml"), "--", "train"]) == 2
    assert "did you mean rayjob.yaml?" in capsys.readouterr().err
    swept = tmp_path / "swept-rayjob.yaml"
    assert cli.main(["submit", "--write", str(swept), "--", "sweep", "--config", "breakout-quick"]) == 0
    assert "trials at once (--parallel N: another number)" in swept.read_text()
    assert "rlgns sweep --config breakout-quick --out" in yaml.safe_load(swept.read_text())["spec"]["entrypoint"]
    assert cli.main(["submit", "--write", str(tmp_path / "r-rayjob.yaml"), "--", "sweep", "--resume", "/x"]) == 2
    assert "--write needs a configuration" in capsys.readouterr().err
    (tmp_path / "mine.yaml").write_text("base: quick\n")
    other = tmp_path / "rayjob.yaml"
    assert cli.main(["submit", "--write", str(other), "--", "train", "--config", str(tmp_path / "mine.yaml")]) == 2
    assert "which the image lacks" in capsys.readouterr().err
    assert not other.exists()
