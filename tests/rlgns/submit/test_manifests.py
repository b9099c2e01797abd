"""Cluster files: valid by the published schemas, sized by the configuration, without secrets."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray.autoscaler
import yaml

from rlgns import cli
from rlgns.config.load import resolve
from rlgns.submit import manifests

COMMAND = ["train", "--game", "pong", "--runners", "16"]


def config(**settings: object) -> Any:
    return resolve(["ppo"], {"env.num_envs": 64, **settings})


def strict(schema: Any) -> Any:
    """A copy of a schema that allows no field which it does not name: a misspelt one must not pass."""
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
    cluster = yaml.safe_load(manifests.ray_cluster(COMMAND, config(**{"engine.runners": 16}), "rlgns:latest"))
    jsonschema.validate(cluster, schema)
    assert len(cluster["provider"]["worker_ips"]) == cluster["max_workers"] == 2
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][1]
    cluster["dokcer"] = {}
    with pytest.raises(jsonschema.ValidationError, match="dokcer"):
        jsonschema.validate(cluster, schema)


@pytest.mark.skipif("KUBERAY_CRD" not in os.environ, reason="KUBERAY_CRD names no ray.io_rayjobs.yaml of KubeRay")
def test_rayjob_is_valid_by_kuberays_schema() -> None:
    crd = yaml.safe_load(Path(os.environ["KUBERAY_CRD"]).read_text())
    schema = strict(next(v for v in crd["spec"]["versions"] if v["name"] == "v1")["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    job = yaml.safe_load(
        manifests.ray_job(COMMAND, config(**{"engine.runners": 16, "engine.device": "cuda"}), "rlgns:cuda")
    )
    jsonschema.validate(job, schema)
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["replica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(job, schema)


def test_rayjob_has_room_for_every_runner() -> None:
    job = yaml.safe_load(manifests.ray_job(COMMAND, config(**{"engine.runners": 16}), "rlgns:latest"))
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
    assert job["spec"]["entrypoint"].endswith('--runners 16 --out "${RLGNS_RUNS:-$HOME/runs}/pong"')


def test_without_runners_there_are_no_workers() -> None:
    assert (
        yaml.safe_load(manifests.ray_job(["train"], config(), "x"))["spec"]["rayClusterSpec"]["workerGroupSpecs"] == []
    )
    assert yaml.safe_load(manifests.ray_cluster(["train"], config(), "x"))["max_workers"] == 0


def test_files_are_written_or_refused_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    up, job = tmp_path / "ray-cluster.yaml", tmp_path / "mine-rayjob.yaml"
    assert cli.main(["submit", "--write", str(up), str(job), "--", *COMMAND, "--env.num_envs", "64"]) == 0
    assert capsys.readouterr().out == f"{up}\n{job}\n"
    assert cli.main(["submit", "--write", str(up), "--", *COMMAND, "--env.num_envs", "64"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert cli.main(["submit", "--write", str(tmp_path / "rayjbo.yaml"), "--", "train"]) == 2
    assert "did you mean rayjob.yaml?" in capsys.readouterr().err
    swept = tmp_path / "swept-rayjob.yaml"
    assert cli.main(["submit", "--write", str(swept), "--", "sweep", "--config", "breakout-quick"]) == 0
    assert "rlgns sweep --config breakout-quick --out" in yaml.safe_load(swept.read_text())["spec"]["entrypoint"]
    (tmp_path / "mine.yaml").write_text("base: quick\n")
    other = tmp_path / "rayjob.yaml"
    assert cli.main(["submit", "--write", str(other), "--", "train", "--config", str(tmp_path / "mine.yaml")]) == 2
    assert "which the image lacks" in capsys.readouterr().err
    assert not other.exists()
