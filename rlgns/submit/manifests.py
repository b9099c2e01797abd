"""Writes the files of a cluster that fits a run or a sweep: for `ray up` and for KubeRay."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from rlgns.config.files import presets, sweeps
from rlgns.errors import UserError, nearest
from rlgns.storage.files import reason, write_atomically
from rlgns.submit.cluster_size import ClusterSize
from rlgns.submit.package import environment_of_job, option_value
from rlgns.submit.resumable import resumable_entrypoint

SHARED = "/home/rlgns/runs"
"""Folder for runs that all nodes share."""

SECRET = "wandb-api-key"
"""Name of a Kubernetes secret with the key `api-key`; optional."""


RETRIES = 3
"""How often KubeRay starts a failed job again, each time on a new cluster."""


def write(files: Sequence[str], command: Sequence[str], size: ClusterSize, *, image: str) -> None:
    """Writes cluster files, of the kind that each name's ending says, and prints their paths.

    Args:
        files: For example `ray-cluster.yaml` and `rayjob.yaml`; existing files are not overwritten.
        command: Arguments of rlgns that the job runs.
        size: Of the cluster.
        image: Image of rlgns that the nodes can pull.

    Raises:
        UserError: A name with another ending, a file that exists or cannot be written, or an argument with a line break
            or another character that cannot be shown.
    """
    for argument in command:
        if not argument.isprintable():  # it would leave the comment that shows the command
            raise UserError(
                f"--write: {argument!r} holds a character that cannot be printed, such as a line break; leave it out"
            )
    for name in files:
        if _kind(name) is None:
            raise UserError(
                f"--write {name}: unknown file{nearest(Path(name).name, _KINDS)}; allowed: "
                f"{', '.join(f'*{kind}' for kind in _KINDS)}"
            )
        if Path(name).exists():
            raise UserError(f"--write {name}: exists already")
    texts = {name: _KINDS[_kind(name) or ""](command, size, image) for name in files}
    for name, text in texts.items():
        try:
            write_atomically(Path(name), text.encode())
        except OSError as error:
            raise UserError(f"--write {name}: cannot be written: {reason(error)}") from error
        print(name)  # noqa: T201


def ray_cluster(command: Sequence[str], size: ClusterSize, image: str) -> str:
    """Returns a file for `ray up` on the user's own machines (provider `local`)."""
    cluster: dict[str, Any] = {
        "cluster_name": "rlgns",
        "provider": {
            "type": "local",
            "head_ip": "HEAD_HOST",
            "worker_ips": [f"WORKER_HOST_{number}" for number in range(1, size.workers + 1)],
        },
        "auth": {"ssh_user": "USER"},
        "max_workers": size.workers,
        "docker": {
            "image": image,
            "container_name": "rlgns",
            "pull_before_run": True,
            "run_options": [f"--shm-size={size.worker_shm_gib}g", f"--volume=/shared/runs:{SHARED}", "--entrypoint="],
        },
        "file_mounts": {"~/.ray/auth_token": "~/.ray/auth_token"},
        "head_start_ray_commands": [
            "ray stop",
            f"RAY_AUTH_MODE=token ray start --head --port=6379 --num-cpus={size.head_ray_cpus} "
            "--dashboard-host=127.0.0.1 --autoscaling-config=~/ray_bootstrap_config.yaml --disable-usage-stats",
        ],
        "worker_start_ray_commands": [
            "ray stop",
            f"RAY_AUTH_MODE=token ray start --address=$RAY_HEAD_IP:6379 --num-cpus={size.worker_cpus} "
            "--disable-usage-stats",
        ],
    }
    return _with_head(
        f"""\
# Made by `rlgns submit --write` for: rlgns {shlex.join(command)}
# Sized for {size.reason}.
#
# Fill in the hosts and the user, share /shared/runs between the hosts (NFS), then
#
#   (umask 077; ray get-auth-token --generate)                           makes the token that all nodes share
#   ray up ray-cluster.yaml
#   ray dashboard ray-cluster.yaml                                       opens the Jobs API on this machine's port 8265
#   RAY_AUTH_MODE=token rlgns submit -- {shlex.join(command)}
#
# The dashboard listens on the head's loopback only; `ray dashboard` forwards it through SSH.
""",
        cluster,
    )


def ray_job(command: Sequence[str], size: ClusterSize, image: str) -> str:
    """Returns a RayJob for KubeRay: a cluster that lives as long as the run.

    Raises:
        UserError: The configuration is a file of this machine, which the image does not hold.
    """
    file = option_value(command, "--config")
    what, shipped = ("shipped sweep", sweeps()) if command[0] == "sweep" else ("preset", presets())
    if file is not None and file not in shipped:
        raise UserError(
            f"rayjob.yaml: --config {file} is a file of this machine, which the image lacks; name a {what} "
            f"({', '.join(shipped)}) and give the rest as --section.key VALUE"
        )
    groups = [_workers(size, image)] if size.workers else []
    head = _pod("ray-head", size.head_cpus, size.head_gib, size.head_gpus, image)
    head["spec"]["containers"][0]["ports"] = [
        {"containerPort": 6379, "name": "gcs-server"},
        {"containerPort": 8265, "name": "dashboard"},
    ]
    job = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "rlgns"},
        "spec": {
            "entrypoint": resumable_entrypoint(command, f"{SHARED}/{'-'.join(size.games[:3])}"),
            "runtimeEnvYAML": yaml.safe_dump({"env_vars": environment_of_job("")}),
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 300,
            "backoffLimit": RETRIES,
            "rayClusterSpec": {
                "rayVersion": metadata.version("ray"),
                "authOptions": {"mode": "token"},
                "headGroupSpec": {
                    "serviceType": "ClusterIP",
                    "rayStartParams": {"dashboard-host": "0.0.0.0", "num-cpus": str(size.head_ray_cpus)},
                    "template": head,
                },
                "workerGroupSpecs": groups,
            },
        },
    }
    return _with_head(
        f"""\
# Made by `rlgns submit --write` for: rlgns {shlex.join(command)}
# Sized for {size.reason}.
#
#   kubectl create secret generic {SECRET} --from-file=api-key=FILE       only for live logging to W&B
#   kubectl apply -f rayjob.yaml
#
# It needs KubeRay 1.5.1 or newer, a PersistentVolumeClaim rlgns-runs (ReadWriteMany), and nodes that can pull the
# image. A job that fails, or loses its head, is retried {RETRIES} times on a new cluster and resumes what the claim
# holds, or what --mirror URL holds where the claim is lost; applied again, this file does the same. For a new run give
# another --out and another URL.
#
# The cluster asks for a token, which KubeRay makes and keeps in a secret. Whoever reaches the head's port 8265 and has
# the token can run commands on the cluster, and it travels in the clear: restrict the port with a NetworkPolicy.
""",
        job,
    )


def _workers(size: ClusterSize, image: str) -> dict[str, Any]:
    return {
        "groupName": "workers",
        "replicas": size.workers,
        "minReplicas": size.workers,
        "maxReplicas": size.workers,
        "rayStartParams": {},
        "template": _pod("ray-worker", size.worker_cpus, size.worker_gib, size.worker_gpus, image),
    }


def _pod(name: str, cpus: int, gib: int, gpus: int, image: str) -> dict[str, Any]:
    requests = {"cpu": str(cpus), "memory": f"{gib}Gi"}
    gpu = {"nvidia.com/gpu": gpus} if gpus else {}
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}] if gpus else []
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
                    "resources": {"requests": dict(requests), "limits": requests | gpu},
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
            **({"tolerations": tolerations} if tolerations else {}),
        }
    }


def _with_head(comment: str, content: dict[str, Any]) -> str:
    return comment + "\n" + yaml.safe_dump(content, sort_keys=False, width=120)


def _kind(name: str) -> str | None:
    return next((kind for kind in _KINDS if Path(name).name.endswith(kind)), None)


_KINDS: dict[str, Callable[[Sequence[str], ClusterSize, str], str]] = {
    "ray-cluster.yaml": ray_cluster,
    "rayjob.yaml": ray_job,
}
