"""A GPU without memory: runs the learner's code on fake tensors and counts what waits for it, and what it is given.

    python -m tests.rlgns.engine.fake_gpu FOLDER        writes FOLDER/traffic.json

torch's fake tensors (`torch._subclasses.fake_tensor`) have a device, a shape and a type, and no values. A dispatch mode
sees every operation on them. The backward pass is the only thing that cannot run, since torch's CPU build has none for
a GPU: `torch.autograd.grad` gives gradients of the right shape, and what a backward pass launches is not counted.

Run it in a process of its own: `allow_gpu_tensors` changes torch for good.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import functools
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rlgns.agents.compute.flat_gradients import clip_
from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig, NetworkConfig
from rlgns.agents.network import ActorCritic, build_network
from rlgns.agents.rollout import FrameStacks, Rollout
from rlgns.agents.rollout_gradients import BeforeSteps
from rlgns.agents.update import Updater
from rlgns.config.schema import Config
from rlgns.engine.collect import Collector
from rlgns.engine.loss_splits import LossSplits
from rlgns.engine.probe import Probe
from rlgns.engine.ride_along import RideAlong
from rlgns.envs.config import EnvConfig
from rlgns.envs.vector import AtariEnvs
from rlgns.noise.config import NoiseConfig
from tests.agents.synthetic import random_rollouts

ROOT = Path(__file__).parents[3]
GPU = torch.device("cuda:0")

RUN = Config(
    env=EnvConfig(num_envs=4),
    network=NetworkConfig(),
    agent=AgentConfig(rollout_steps=8, epochs=2, minibatches=2),
    noise=NoiseConfig(groups=2, overhead_budget=0.3),
)

RESULT_BY_VALUE = {"nonzero", "masked_select", "unique", "_unique2", "equal"}
"""Operations that wait, since the shape or type of their result depends on values; so does `item`."""

_NO_LAUNCH = """
view _unsafe_view permute transpose t select slice split split_with_sizes unsqueeze squeeze expand detach alias
as_strided _reshape_alias unbind view_as lift_fresh empty empty_like empty_strided new_empty new_empty_strided
unflatten diagonal is_same_size resolve_conj set_ device
"""
NO_LAUNCH = set(_NO_LAUNCH.split())
"""Operations that start nothing on a device."""

Counts = collections.Counter[str]


class Traffic(TorchDispatchMode):
    """Counts by the function of ours that caused it, file.py:name."""

    def __init__(self) -> None:
        """Has seen nothing."""
        super().__init__()
        self.waits: Counts = collections.Counter()
        """Values that the host asked for, and copies to it."""
        self.uploads: Counts = collections.Counter()
        """Copies from the host. They wait too, since none is from pinned memory."""
        self.upload_bytes: Counts = collections.Counter()
        """Their bytes."""
        self.launches: Counts = collections.Counter()
        """Operations on the device, but for backward passes."""

    def clear(self) -> None:
        """Forgets what was counted."""
        for counts in self.counts().values():
            counts.clear()

    def counts(self) -> dict[str, Counts]:
        """Returns all counts by name."""
        names = ("waits", "uploads", "upload_bytes", "launches")
        return {name: getattr(self, name) for name in names}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Counts an operation and runs it. A value that is asked for is false, 1 or 0.5."""
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[1]
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_gpu = any(tensor.device == GPU for tensor in given)
        if on_gpu and (name == "_local_scalar_dense" or name in RESULT_BY_VALUE):
            self.waits[_caller()] += 1
        if name == "_local_scalar_dense" and isinstance(given[0], FakeTensor):
            dtype = given[0].dtype
            return False if dtype == torch.bool else 0.5 if dtype.is_floating_point else 1
        # torch knows no shapes for a step whose rate is a tensor; it changes its arguments alone
        result = func(*args, **kwargs) if func is not torch.ops.aten._fused_adam_.tensor_lr else None
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if name in ("_to_copy", "copy_") and given[-1].device != made[0].device:
            (self.uploads if made[0].device == GPU else self.waits)[_caller()] += 1
            if made[0].device == GPU:
                self.upload_bytes[_caller()] += made[0].numel() * made[0].element_size()
        if name not in NO_LAUNCH and any(tensor.device == GPU for tensor in given + made):
            self.launches[_caller()] += 1
        return result


def _caller() -> str:
    frame = sys._getframe(2)
    while not _is_ours(frame.f_code.co_filename):
        assert frame.f_back is not None
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}"


@functools.cache
def _is_ours(path: str) -> bool:
    return path != __file__ and any(Path(path).is_relative_to(ROOT / folder) for folder in ("agents", "rlgns"))


def allow_gpu_tensors() -> None:
    """Gives a GPU's tensors the guard of "meta" tensors.

    Before most operations torch asks the guard of a tensor's device to select it. The CPU build has none for a GPU.
    """
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * 21).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    cpu, cuda, meta = 0, 1, 14  # c10/core/DeviceType.h
    assert guards[cpu] and guards[meta] and not guards[cuda]
    guards[cuda] = guards[meta]


@contextlib.contextmanager
def fake_gpu() -> Iterator[Traffic]:
    """Lets tensors be made on the fake GPU, and counts."""
    traffic = Traffic()
    with (
        torch.no_grad(),
        mock.patch("torch.autograd.grad", _gradients),
        mock.patch("torch.nn.Module._apply", _converted),
        mock.patch.object(FakeTensor, "numpy", _numbers, create=True),
        mock.patch.object(FakeTensor, "tolist", lambda tensor: _numbers(tensor.cpu()).tolist(), create=True),
        FakeTensorMode(allow_non_fake_inputs=True),
        traffic,
    ):
        yield traffic


def _gradients(loss: Tensor, inputs: Sequence[Tensor], **kwargs: Any) -> list[Tensor]:
    return [torch.empty_like(tensor) for tensor in inputs]


def _converted(module: torch.nn.Module, convert: Any, recurse: bool = True) -> torch.nn.Module:
    """`Module.to` as far as it is needed; torch's own swaps the memory of tensors."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            setattr(part, name, torch.nn.Parameter(convert(parameter)))
    return module


def _numbers(tensor: Tensor) -> np.ndarray:
    assert tensor.device.type == "cpu"
    return np.ones(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def network_on_gpu() -> ActorCritic:
    """The Nature network."""
    with torch.device(GPU):
        return build_network(RUN.network, num_actions=6, frame_stack=4, image_size=84)


def rollouts(*, there: bool = False) -> list[Rollout]:
    """Of two sets of environments; `there`: with their frames on the GPU."""
    found = [random_rollouts(seed, steps=8, envs=2, stack=4, size=84, actions=6)[0][0] for seed in range(2)]
    for rollout in found if there else ():
        frames = torch.empty(rollout.frames.shape, dtype=torch.uint8, device=GPU)
        rollout.frames_there = functools.partial(torch.Tensor.view_as, frames, frames)
    return found


def of_playing(precision: str) -> dict[str, Counts]:
    """Counts of a rollout of two real games, not the first: 8 steps and the observations after them."""
    with fake_gpu() as traffic:
        network = network_on_gpu()
        envs = AtariEnvs("pong", RUN.env, num_envs=2, seed=0, threads=1)
        collector = Collector(envs, network, rollout_steps=8, precision=precision, stream=0)
        for iteration in range(2):
            traffic.clear()
            rollout, _ = collector.collect(seed=0, iteration=iteration)
            frames = rollout.frames_there() if rollout.frames_there else None
            assert frames is not None
            assert frames.device == GPU
        collector.close()
    return traffic.counts()


def of_updates(precision: str) -> dict[str, dict[str, Counts]]:
    """Counts of an update with the live measurement, of one that is also split by loss, and of one that is probed.

    An update before them makes the optimizer's state, and is not counted.
    """
    found = {}
    with fake_gpu() as traffic:
        network, ticks = network_on_gpu(), itertools.count()
        measure = RideAlong(RUN.noise, minibatches=RUN.agent.minibatches)
        losses = LossSplits(RUN.noise, minibatches=RUN.agent.minibatches, epochs=RUN.agent.epochs)
        probe = Probe(RUN, network, clock=lambda: float(next(ticks)))
        updater = Updater(
            network,
            RUN.agent,
            groups=2,
            precision=precision,
            on_products=measure.on_products,
            on_losses=losses.on_losses,
            batch_observations=RUN.batch_observations,
        )
        extra: dict[str, tuple[BeforeSteps | None, int | None]] = {
            "first": (None, None),
            "update": (None, None),
            "update of frames that are there": (None, None),
            "update by loss": (None, 1),
            "update and probe": (lambda fresh: probe.measure(fresh, (0, 2)), None),
        }
        for number, (name, (before_steps, by_loss)) in enumerate(extra.items()):
            given = rollouts(there="there" in name)
            traffic.clear()
            updater.update(given, learning_rate=1e-3, seed=(0, number), step_by_loss=by_loss, before_steps=before_steps)
            measure.settle()
            losses.settle(measure.divisors, 64)
            found[name] = {kind: counter.copy() for kind, counter in traffic.counts().items()}
    del found["first"]
    return found


def waits_of_branches() -> dict[str, int]:
    """How often the host waits in each branch that is chosen by `waits`; None: as the device chooses."""
    found = {}
    with fake_gpu() as traffic:
        gradient, where, team = torch.empty(1000, device=GPU), torch.empty(5, dtype=torch.int64, device=GPU), Team(1)
        for waits in (True, False, None):
            traffic.clear()
            clip_(gradient, 0.5, team, waits=waits)
            found[f"clip, waits {waits}"] = traffic.waits.total()
            stacks = FrameStacks.of(rollouts(), GPU, 4, waits=waits)
            traffic.clear()
            stacks.gather(where)
            found[f"gather, waits {waits}"] = traffic.waits.total()
    return found


if __name__ == "__main__":
    allow_gpu_tensors()
    torch.set_num_threads(1)
    counted = {"playing": of_playing("bfloat16"), **of_updates("bfloat16")}
    result = {"branches": waits_of_branches(), "bfloat16": counted}
    (Path(sys.argv[1]) / "traffic.json").write_text(json.dumps(result))
