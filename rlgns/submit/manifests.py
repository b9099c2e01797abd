"""Files of a cluster made from a run's configuration: `ray up`'s and KubeRay's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from rlgns.config.load import presets, sweeps
from rlgns.config.schema import Config
from rlgns.errors import UserError, nearest
from rlgns.folder import reason, write_atomically
from rlgns.submit.package import entrypoint, environment_of_job, option_value

CPUS_OF_WORKER = 8
"""CPUs of one worker node: eight runners of one core each."""

GIB_OF_HEAD = 8
"""Driver 0.7 GiB, learner 1, Ray's daemons 0.5, W&B 0.2, and the object store."""

GIB_OF_RUNNER = 0.75
GIB_OF_NODE = 2

SHARED = "/home/rlgns/runs"
"""Where every node sees the same folder for runs."""

SECRET = "wandb-api-key"
"""Kubernetes secret with the key `api-key`, which need not exist."""


def write(files: Sequence[str], command: Sequence[str], config: Config, *, image: str) -> None:
    """Writes cluster files, each by its name's ending, and prints their paths.

    Args:
        files: For example `ray-cluster.yaml` and `rayjob.yaml`; existing files are not overwritten.
        command: What the job runs.
        config: Its configuration, from which sizes follow.
        image: Image of rlgns that the nodes can pull.

    Raises:
        UserError: Another name, or a file that exists or cannot be written.
    """
    for name in files:
        if _kind(name) is None:
            raise UserError(
                f"--write {name}: unknown file{nearest(Path(name).name, _KINDS)}; allowed: "
                f"{', '.join(f'*{kind}' for kind in _KINDS)}"
            )
        if Path(name).exists():
            raise UserError(f"--write {name}: exists already")
    texts = {name: _KINDS[_kind(name) or ""](command, config, image) for name in files}
    for name, text in texts.items():
        try:
            write_atomically(Path(name), text.encode())
        except OSError as error:
            raise UserError(f"--write {name}: cannot be written: {reason(error)}") from error
        print(name)  # noqa: T201


def workers(config: Config) -> tuple[int, int]:
    """Returns how many worker nodes runners and remote learners fill, and the CPUs of each."""
    learning = config.engine.learners * (config.engine.threads or 1)
    cpus = (config.engine.runners + learning) * len(config.run.games)
    if cpus == 0:
        return 0, 1
    nodes = math.ceil(cpus / CPUS_OF_WORKER)
    return nodes, math.ceil(cpus / nodes)


def head_cpus(config: Config) -> int:
    """Returns the CPUs of the head, where driver and learners run."""
    return (config.engine.threads or 4) * len(config.run.games)


def worker_gib(cpus: int) -> int:
    """Returns the memory of a worker with a runner on every CPU, GiB."""
    return math.ceil(GIB_OF_NODE + GIB_OF_RUNNER * cpus)


def ray_cluster(command: Sequence[str], config: Config, image: str) -> str:
    """Returns a file for `ray up`, for machines of one's own (provider `local`)."""
    nodes, cpus = workers(config)
    shm = max(1, worker_gib(cpus) // 3)
    cluster: dict[str, Any] = {
        "cluster_name": "rlgns",
        "provider": {
            "type": "local",
            "head_ip": "HEAD_HOST",
            "worker_ips": [f"WORKER_HOST_{number}" for number in range(1, nodes + 1)],
        },
        "auth": {"ssh_user": "USER"},
        "max_workers": nodes,
        "docker": {
            "image": image,
            "container_name": "rlgns",
            "pull_before_run": True,
            "run_options": [f"--shm-size={shm}g", f"--volume=/shared/runs:{SHARED}", "--entrypoint="],
        },
        "file_mounts": {"~/.ray/auth_token": "~/.ray/auth_token"},
        "head_start_ray_commands": [
            "ray stop",
            f"RAY_AUTH_MODE=token ray start --head --port=6379 --num-cpus={head_cpus(config)} "
            "--dashboard-host=127.0.0.1 --autoscaling-config=~/ray_bootstrap_config.yaml --disable-usage-stats",
        ],
        "worker_start_ray_commands": [
            "ray stop",
            f"RAY_AUTH_MODE=token ray start --address=$RAY_HEAD_IP:6379 --num-cpus={cpus} --disable-usage-stats",
        ],
    }
    return _with_head(
        f"""\
# Made by `rlgns submit --write` for: rlgns {" ".join(command)}
#
# Put in the hosts and the user, share /shared/runs between them (NFS), then
#
#   ray get-auth-token --generate                                        the cluster's token, which goes to every node
#   ray up ray-cluster.yaml
#   ray dashboard ray-cluster.yaml                                       the Jobs API on this machine's port 8265
#   RAY_AUTH_MODE=token rlgns submit -- {" ".join(command)}
#
# The dashboard listens on the head's loopback only; `ray dashboard` brings it here through SSH.
""",
        cluster,
    )


def ray_job(command: Sequence[str], config: Config, image: str) -> str:
    """Returns a RayJob of KubeRay: a cluster that lives as long as the run.

    Raises:
        UserError: The configuration is a file, which the image does not hold.
    """
    file = option_value(command, "--config")
    what, shipped = ("shipped sweep", sweeps()) if command[0] == "sweep" else ("preset", presets())
    if file is not None and file not in shipped:
        raise UserError(
            f"rayjob.yaml: --config {file} is a file of this machine, which the image lacks; name a {what} "
            f"({', '.join(shipped)}) and give the rest as --section.key VALUE"
        )
    nodes, cpus = workers(config)
    gpu = config.engine.device == "cuda"
    groups = [_group("workers", nodes, cpus, worker_gib(cpus), image)] if nodes else []
    head = _pod("ray-head", head_cpus(config), GIB_OF_HEAD * len(config.run.games), image)
    if gpu:
        head["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = len(config.run.games)
        head["spec"]["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    head["spec"]["containers"][0]["ports"] = [
        {"containerPort": 6379, "name": "gcs-server"},
        {"containerPort": 8265, "name": "dashboard"},
    ]
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "rlgns"},
        "spec": {
            "entrypoint": entrypoint(command, "-".join(config.run.games[:3])),
            "runtimeEnvYAML": yaml.safe_dump({"env_vars": environment_of_job("")}),
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 300,
            "backoffLimit": 0,
            "rayClusterSpec": {
                "rayVersion": metadata.version("ray"),
                "headGroupSpec": {
                    "serviceType": "ClusterIP",
                    "rayStartParams": {"dashboard-host": "0.0.0.0"},
                    "template": head,
                },
                "workerGroupSpecs": groups,
            },
        },
    }
    return _with_head(
        f"""\
# Made by `rlgns submit --write` for: rlgns {" ".join(command)}
#
#   kubectl create secret generic {SECRET} --from-file=api-key=FILE       if runs shall go to W&B at once
#   kubectl apply -f rayjob.yaml
#
# It needs a PersistentVolumeClaim rlgns-runs (ReadWriteMany), and nodes that can pull the image.
#
# Whoever reaches the head's port 8265 runs commands on the cluster: a NetworkPolicy should keep others from it.
""",
        job,
    )


def _group(name: str, replicas: int, cpus: int, gib: int, image: str) -> dict[str, Any]:
    return {
        "groupName": name,
        "replicas": replicas,
        "minReplicas": replicas,
        "maxReplicas": replicas,
        "rayStartParams": {},
        "template": _pod("ray-worker", cpus, gib, image),
    }


def _pod(name: str, cpus: int, gib: int, image: str) -> dict[str, Any]:
    size = {"cpu": str(cpus), "memory": f"{gib}Gi"}
    return {
        "spec": {
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "env": [
                        {"name": "RLGNS_RUNS", "value": SHARED},
                        {"name": "WANDB_API_KEY_FILE", "value": "/secrets/wandb/api-key"},
                    ],
                    "resources": {"requests": dict(size), "limits": dict(size)},
                    "volumeMounts": [
                        {"name": "shm", "mountPath": "/dev/shm"},
                        {"name": "runs", "mountPath": SHARED},
                        {"name": "wandb", "mountPath": "/secrets/wandb", "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{max(1, gib // 3)}Gi"}},
                {"name": "runs", "persistentVolumeClaim": {"claimName": "rlgns-runs"}},
                {"name": "wandb", "secret": {"secretName": SECRET, "optional": True}},
            ],
        }
    }


def _with_head(comment: str, content: dict[str, Any]) -> str:
    return comment + "\n" + yaml.safe_dump(content, sort_keys=False, width=120)


def _kind(name: str) -> str | None:
    return next((kind for kind in _KINDS if Path(name).name.endswith(kind)), None)


_KINDS: dict[str, Callable[[Sequence[str], Config, str], str]] = {
    "ray-cluster.yaml": ray_cluster,
    "rayjob.yaml": ray_job,
}
