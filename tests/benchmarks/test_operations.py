"""Operations and bytes counted from the configuration, against torch's own counter and real arrays."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.operations import (
    ADAM_PASSES,
    FLOAT32_BYTES,
    FORWARD,
    INPUT_GRADIENT,
    KINDS,
    WEIGHT_GRADIENT,
    bytes_held,
    bytes_moved,
    layers_of,
    operations,
    parameters,
)
from rlgns.agents.compute.flat_gradients import FlatGradients
from rlgns.agents.compute.team import Team
from rlgns.agents.network import ActorCritic, build_network
from rlgns.agents.optimizer import make_optimizer
from rlgns.agents.rollout import FrameStacks, RolloutRecorder
from rlgns.agents.rollout_gradients import LOSSES
from rlgns.config.load import resolve
from rlgns.config.schema import Config
from rlgns.engine.probe import SEGMENTS

ACTIONS = 6


def network_of(run: Config) -> ActorCritic:
    return build_network(
        run.network, num_actions=ACTIONS, frame_stack=run.env.frame_stack, image_size=run.env.image_size
    )


@pytest.mark.parametrize("preset", ["ppo", "quick"])
def test_operations_equal_torchs_count(preset: str) -> None:
    run = resolve([preset])
    network, layers, batch = network_of(run), layers_of(run, ACTIONS), 3
    shape = (batch, run.env.frame_stack, run.env.image_size, run.env.image_size)
    observations = torch.randint(0, 255, shape, dtype=torch.uint8)
    with FlopCounterMode(display=False) as forward:
        logits, values = network(observations)
    with FlopCounterMode(display=False) as backward:
        (logits.sum() + values.sum()).backward()
    counted = {kind: batch * sum(layer.operations(kind) for layer in layers) for kind in KINDS}
    assert forward.get_total_flops() == counted[FORWARD]
    assert backward.get_total_flops() == counted[WEIGHT_GRADIENT] + counted[INPUT_GRADIENT]
    assert layers[0].operations(INPUT_GRADIENT) == 0  # the gradient of pixels is never computed
    epochs = run.agent.epochs
    assert operations(layers, epochs=epochs) == {
        "inference": counted[FORWARD] // batch,
        "learning": epochs * sum(counted.values()) // batch,
    }


@pytest.mark.parametrize("preset", ["ppo", "quick"])
def test_products_have_as_many_operations_as_their_shapes(preset: str) -> None:
    for layer in layers_of(resolve([preset]), ACTIONS):
        for kind in layer.kinds():
            rows, inner, columns = layer.shape(kind, 5)
            assert 2 * rows * inner * columns == 5 * layer.operations(kind), (layer.name, kind)


def test_held_bytes_equal_those_of_real_arrays() -> None:
    run = resolve(["ppo"], {"env.num_envs": 8, "agent.rollout_steps": 5, "noise.groups": 2})
    network, threads = network_of(run), 3
    layers = layers_of(run, ACTIONS)
    held = bytes_held(run, layers, threads=threads, value_bytes=2)
    stacks = np.zeros((8, run.env.frame_stack, run.env.image_size, run.env.image_size), np.uint8)
    recorder = RolloutRecorder(5, stacks, np.ones(8, np.uint8))
    for _ in range(5):
        recorder.observe(stacks[:, -1])
        zeros, nothing = np.zeros(8, np.float32), np.zeros(8, np.bool_)
        recorder.act(
            actions=np.zeros(8, np.int64),
            values=zeros,
            rewards=zeros,
            terminal=nothing,
            truncated=nothing,
            restarted=nothing,
        )
    rollout = recorder.finish(np.zeros(8, np.float32), np.zeros((5, 8), np.float32))
    arrays = [getattr(rollout, field.name) for field in dataclasses.fields(rollout)]
    real = sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))
    assert held["rollout"] == pytest.approx(real, rel=0.001)  # a value's share of the last row
    assert parameters(layers) == network.parameter_count
    assert held["network"] == sum(p.nbytes for p in network.parameters())
    gradients = FlatGradients(network, rows=max(run.groups_per_batch, threads))
    assert held["gradients, a row per group or thread"] == gradients.rows.nbytes
    optimizer = make_optimizer(list(network.parameters()), run.agent, Team(1))
    optimizer.step()
    moments = sum(value.nbytes for state in optimizer.state.values() for name, value in state.items() if name != "step")
    assert held["Adam's moments"] == moments
    joined = FrameStacks.of([rollout, rollout], torch.device("cpu")).frames.nbytes  # of twice the environments
    assert held["the threads' frames side by side"] == held["frames in blocks"] == joined // 2
    assert "the threads' frames side by side" not in bytes_held(run, layers, threads=1, value_bytes=2)
    assert "frames in blocks" not in bytes_held(run, layers, threads=1, value_bytes=2, kernels=True)
    assert network.chain is not None
    assert held["hidden weights for playing"] == threads * 2 * network.chain.hidden.weight.bfloat16().nbytes
    rows, own = len(LOSSES) * 8 + 1, threads * (SEGMENTS + len(LOSSES))
    assert held["the probe's gradients"] == (rows + own) * held["network"]
    without = dataclasses.replace(run, noise=dataclasses.replace(run.noise, overhead_budget=0.0))
    assert "the probe's gradients" not in bytes_held(without, layers, threads=threads, value_bytes=2)


def test_the_kernels_hold_outputs_and_features_but_no_stacks() -> None:
    run = resolve(["ppo"])
    held = bytes_held(run, layers_of(run, ACTIONS), threads=2, value_bytes=2, kernels=True)
    outputs, features, hidden = 20 * 20 * 32 + 9 * 9 * 64 + 7 * 7 * 64, 7 * 7 * 64, 512
    numbers = outputs + 2 * features + 2 * hidden  # of the last two with their gradients
    assert held["activations of one batch"] == 256 * 2 * numbers


def test_moved_bytes_equal_a_loop_over_operands() -> None:
    run = resolve(["quick"])
    layers, shares, width = layers_of(run, ACTIONS), 2, 2
    share = run.batch_observations // shares
    learning = 0.0
    for layer in layers:
        own = FLOAT32_BYTES if layer.is_head else width
        inputs, outputs = share * layer.input_values * own, share * layer.pixels * layer.outputs * own
        weights = layer.inner * layer.outputs
        learning += inputs + weights * own + outputs  # forward
        learning += inputs + outputs + weights * FLOAT32_BYTES  # gradient of the weights
        learning += 0 if layer.is_first else outputs + weights * own + inputs  # gradient of the input
    moved = bytes_moved(run, layers, shares=shares, value_bytes=width)
    assert moved["learning"] == pytest.approx(run.agent.epochs * learning / share)
    assert moved["optimizer"] * run.batch_observations == pytest.approx(
        run.agent.epochs * ADAM_PASSES * FLOAT32_BYTES * parameters(layers)
    )
    alone = bytes_moved(run, layers, shares=run.env.num_envs, value_bytes=width)
    assert alone["inference"] > moved["inference"]  # every thread reads the weights for fewer observations
