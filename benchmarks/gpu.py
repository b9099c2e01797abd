"""What a GPU and its processor reach, in one go of about nine minutes: correct values first, then speed.

    python -m benchmarks.gpu OUT.json            # needs torch, gymnasium and ale-py; neither Ray nor the C extension

OUT.json is written anew after every stage. A stage that fails leaves its error there, and the next one begins. On a
machine without a GPU all stages run on the processor, which rehearses them; `--tiny` makes them short.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ale_py.vector_env import AtariVectorEnv

from benchmarks.gpu_products import step_ms
from benchmarks.gpu_trials import GAME, rates
from benchmarks.sizes_worker import Size, Training
from rlgns.agents.compute.chain_pass import ChainPass
from rlgns.agents.compute.flat_gradients import FlatGradients
from rlgns.agents.compute.precision import choose_device
from rlgns.agents.config import AgentConfig, NetworkConfig
from rlgns.agents.network import build_network
from rlgns.agents.rollout import FrameStacks
from rlgns.agents.update import Updater
from rlgns.gram import gram_on_device

ROLLOUT = 4096
"""Observations of a rollout in all stages of the learner."""

BATCHES, GROUPS = (256, 1024, 4096), (2, 8, 64)
TRIALS = (1, 2, 4)
"""Trials on the GPU at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How long the stages last."""

    seconds: float
    """Of each rate."""
    pong_s: float
    envs: int
    batches: tuple[int, ...]
    groups: tuple[int, ...]
    threads: tuple[int, ...]


WHOLE = Scale(seconds=6, pong_s=60, envs=128, batches=BATCHES, groups=GROUPS, threads=(8, 16))
TINY = Scale(seconds=0.05, pong_s=0.1, envs=4, batches=(32,), groups=(2,), threads=(1,))


def machine(scale: Scale) -> dict[str, Any]:
    """What the figures were measured on."""
    smt = Path("/sys/devices/system/cpu/smt/active")
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cores": len(os.sched_getaffinity(0)),
        "smt": smt.read_text().strip() if smt.exists() else None,
        "processor": next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), None),
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "gpu_bytes": properties.total_memory, "cuda": torch.version.cuda}
        found |= {"capability": torch.cuda.get_device_capability(0), "architectures": torch.cuda.get_arch_list()}
    return found


def emulators(scale: Scale) -> dict[str, float]:
    """Observations per second of the emulators alone, by threads, and with each thread pinned to a core."""
    found = {}
    for threads in scale.threads:
        for offset in (-1, 0):
            envs = AtariVectorEnv(GAME, scale.envs, num_threads=threads, thread_affinity_offset=offset)
            envs.reset(seed=0)
            actions, steps = np.zeros(scale.envs, np.int64), 0
            with _clock() as elapsed:
                while elapsed() < scale.seconds:
                    envs.step(actions)
                    steps += 1
                found[f"{threads} threads{'' if offset < 0 else ', pinned'}"] = steps * scale.envs / elapsed()
            envs.close()
    return found


def values(scale: Scale) -> dict[str, float]:
    """Relative differences between device and processor in float32, by norm; frames must not differ at all."""
    device, cpu = choose_device("auto"), torch.device("cpu")
    network = NetworkConfig()
    training = _training(scale, minibatches=2, groups=2)
    rollouts, _ = training.play()
    training.close()
    steps, found = rollouts[0].num_steps, {}
    where = torch.randperm(steps * scale.envs)[:32]
    pixels = [FrameStacks.of(rollouts, at, 4).gather(where.to(at)).cpu() for at in (device, cpu)]
    found["frames that differ"] = float((pixels[0] != pixels[1]).sum())
    results: list[list[torch.Tensor]] = []
    for at, factored in ((device, True), (cpu, False)):  # so products from factors are compared with those of rows
        torch.manual_seed(0)
        policy = build_network(network, num_actions=6, frame_stack=4, image_size=84).to(at)
        flat = FlatGradients(policy, rows=4)
        outputs = ChainPass(policy, policy.joined_heads(), pixels[1].to(at))
        loss = (outputs.logits.square().sum(1) + outputs.values.square()).mean()
        outputs.differentiate(loss, flat.views, [8] * 4)
        rows = flat.rows.clone()
        config = AgentConfig(rollout_steps=steps, minibatches=2, epochs=2)
        products: list[torch.Tensor] = []
        Updater(
            policy,
            config,
            groups=2,
            precision="float32",
            on_products=lambda found, split, products=products: products.append(found),  # type: ignore[misc]
            factored=factored,
        ).update(rollouts, learning_rate=1e-3, seed=(0, 0))
        weights = torch.cat([parameter.detach().flatten() for parameter in policy.parameters()])
        results.append([rows.cpu(), gram_on_device(rows).cpu(), weights.cpu(), torch.stack(products)])
    names = ("gradients", "Gram matrix", "weights after 4 steps", "products from factors against those of rows")
    for name, there, here in zip(names, *results, strict=True):
        found[name] = float((there - here).norm() / here.norm())
    return found


def synchronisations(scale: Scale) -> dict[str, Any]:
    """Operations of an update that made the host wait, by torch's own check; one is meant."""
    if not torch.cuda.is_available():
        return {"skipped": "no GPU"}
    training = _training(scale, minibatches=4, groups=8)
    rollouts, _ = training.play()
    for _ in range(4):
        training.learn(rollouts, measured=True)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        training.learn(rollouts, measured=True)
        torch.cuda.set_sync_debug_mode("default")
    training.close()
    return {"waits": len(seen), "where": sorted({f"{Path(w.filename).name}:{w.lineno}" for w in seen})}


def learner(scale: Scale) -> dict[str, Any]:
    """Observations per second of the learner alone, each from four epochs, with the noise scale and without."""
    found: dict[str, Any] = {}
    rollout = min(ROLLOUT, 16 * scale.envs) if scale.envs < 128 else ROLLOUT
    for batch in scale.batches:
        for groups in scale.groups:
            training = _training(scale, minibatches=max(1, rollout // batch), groups=groups)
            rollouts, _ = training.play()
            seconds: dict[bool, list[float]] = {True: [], False: []}
            for measured in (True, False) * 4:  # until every kind of step is recorded
                training.learn(rollouts, measured=measured)
            with _clock() as elapsed:
                while elapsed() < scale.seconds / 2 or len(seconds[True]) < 3:
                    for measured in (True, False) if len(seconds[True]) % 2 else (False, True):
                        seconds[measured].append(training.learn(rollouts, measured=measured))
            training.close()
            on, off = (float(np.median(seconds[measured])) for measured in (True, False))
            count = sum(part.num_steps * part.num_envs for part in rollouts)
            found[f"batch {batch}, {groups} groups"] = {"on": count / on, "off": count / off, "cost": on / off - 1}
    return found


def inner_products(scale: Scale) -> dict[str, Any]:
    """Milliseconds of a measured step, by how the groups' inner products are computed."""
    training = _training(scale, minibatches=1, groups=2)
    rollouts, _ = training.play()
    training.close()
    return step_ms(rollouts, (1, 4, 16) if scale.envs == 128 else (2,), scale.seconds / 3)


def trials(scale: Scale) -> dict[str, dict[str, float]]:
    """Observations per second of N trials on the GPU together, each with an equal share of the cores.

    By them MOST_PER_GPU and CORES_PER_TRIAL of rlgns/machine/placement.py are to be set: N trials are worth it as long
    as their total of playing and learning grows.
    """
    steps = ROLLOUT // 128 if scale.envs == 128 else 16
    size = Size(sweep="", num_envs=scale.envs, rollout_steps=steps, minibatches=4 if scale.envs > 4 else 2, groups=8)
    return {f"{count}": rates(size, count, scale.seconds) for count in (TRIALS if scale.envs == 128 else (2,))}


def end_to_end(scale: Scale) -> dict[str, float]:
    """Observations per second of playing and learning in turn, environments x steps."""
    found = {}
    for envs, steps in ((8, 128), (128, 32)) if scale.envs == 128 else ((scale.envs, 16),):
        training = Training(
            Size(sweep="", num_envs=envs, rollout_steps=steps, minibatches=4 if envs > 4 else 2, groups=8), GAME
        )
        for _ in range(4):
            training.learn(training.play()[0], measured=True)
        rounds = 0
        with _clock() as elapsed:
            while elapsed() < 2 * scale.seconds:
                training.learn(training.play()[0], measured=True)
                rounds += 1
            found[f"{envs} x {steps}"] = rounds * envs * steps / elapsed()
        training.close()
    return found


def playing(scale: Scale) -> dict[str, float]:
    """Observations per second of playing alone: in two halves as it is, which is to be near the emulators'."""
    training = _training(scale, minibatches=2, groups=2)
    training.play()
    count = 0
    with _clock() as elapsed:
        while elapsed() < scale.seconds:
            count += sum(part.num_steps * part.num_envs for part in training.play()[0])
        rate = count / elapsed()
    training.close()
    return {"observations per second": rate}


def pong(scale: Scale) -> dict[str, Any]:
    """Trains Pong for a minute; every loss and gradient norm must be finite."""
    training = _training(scale, minibatches=4 if scale.envs > 4 else 2, groups=8)
    norms: list[float] = []
    with _clock() as elapsed:
        while elapsed() < scale.pong_s or len(norms) < 2:
            training.learn(training.play()[0], measured=True)
            norms.append(training.metrics["grad_norm"])
    estimate = training.noise_scale()
    training.close()
    return {"iterations": len(norms), "finite": all(map(math.isfinite, norms)), "noise scale": str(estimate)}


STAGES: dict[str, Callable[[Scale], dict[str, Any]]] = {
    "machine": machine,
    "emulators": emulators,
    "values": values,
    "synchronisations": synchronisations,
    "learner": learner,
    "inner products": inner_products,
    "end to end": end_to_end,
    "playing": playing,
    "pong": pong,
    "trials": trials,
}


def run(out: Path, scale: Scale) -> dict[str, Any]:
    """Runs all stages and returns what OUT.json holds."""
    found: dict[str, Any] = {}
    for name, stage in STAGES.items():
        began = time.perf_counter()
        try:
            found[name] = stage(scale)
        except Exception as error:  # the next stage may work
            found[name] = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        found[name]["seconds"] = round(time.perf_counter() - began, 1)
        out.write_text(json.dumps(found, indent=1) + "\n")
    return found


def _training(scale: Scale, *, minibatches: int, groups: int) -> Training:
    steps = ROLLOUT // 128 if scale.envs == 128 else 16
    size = Size(sweep="", num_envs=scale.envs, rollout_steps=steps, minibatches=minibatches, groups=groups)
    return Training(size, GAME)


@contextlib.contextmanager
def _clock() -> Iterator[Callable[[], float]]:
    began = time.perf_counter()
    yield lambda: time.perf_counter() - began


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT.json")
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    run(given.out, TINY if given.tiny else WHOLE)
