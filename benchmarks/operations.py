"""Counts the operations and bytes that training costs per observation, from the configuration alone.

Operations are multiplications and additions of the network's matrix products; a convolution is the product of
rows = batch x output pixels with K = channels x kernel^2. Bytes are the least that must move: every operand of a
product is read once, every result is written once, and nothing stays in a cache from one product to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlgns.agents.compute.flat_gradients import equal_parts
from rlgns.agents.config import NetworkConfig
from rlgns.agents.network import block_of
from rlgns.agents.rollout_gradients import LOSSES
from rlgns.config.schema import Config
from rlgns.engine.probe import MOST_GROUPS, SEGMENTS
from rlgns.machine.footprint import frames_bytes, rollout_bytes

FORWARD, WEIGHT_GRADIENT, INPUT_GRADIENT = "forward", "weight gradient", "input gradient"
KINDS = (FORWARD, WEIGHT_GRADIENT, INPUT_GRADIENT)
FLOAT32_BYTES = 4
ADAM_PASSES = 7
"""Parameter vectors that a step moves: weights, gradient and two moments read; weights and two moments written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One layer's shape, per observation."""

    name: str
    pixels: int
    """Output pixels; 1 of a linear layer."""

    inner: int
    """K: number of products summed in one output."""

    outputs: int
    """Output channels or units."""

    input_values: int
    """Values of the layer's input."""

    is_first: bool = False
    """Its input is the observation, which needs no gradient."""

    is_head: bool = False
    """Stays in float32."""

    @property
    def weights(self) -> int:
        """Weights, biases apart."""
        return self.inner * self.outputs

    def shape(self, kind: str, observations: int) -> tuple[int, int, int]:
        """Returns rows, inner and columns of a product [rows, inner] x [inner, columns]."""
        rows = observations * self.pixels
        return {
            FORWARD: (rows, self.inner, self.outputs),
            WEIGHT_GRADIENT: (self.outputs, rows, self.inner),
            INPUT_GRADIENT: (rows, self.outputs, self.inner),
        }[kind]

    def kinds(self) -> tuple[str, ...]:
        """The products of a forward and a backward pass."""
        return KINDS[:2] if self.is_first else KINDS

    def operations(self, kind: str) -> int:
        """Multiplications and additions, per observation."""
        return 2 * self.pixels * self.weights if kind in self.kinds() else 0

    def bytes_moved(self, kind: str, observations: int, value_bytes: int) -> float:
        """Least bytes per observation of a product over so many observations at once.

        Args:
            kind: One of KINDS.
            observations: Observations that share one read of the weights, or one write of their gradient.
            value_bytes: Bytes of a value, 2 in bfloat16; a head and a weight's gradient have 4.
        """
        if kind not in self.kinds():
            return 0.0
        width = FLOAT32_BYTES if self.is_head else value_bytes
        maps = width * (self.input_values + self.pixels * self.outputs)
        weight_width = FLOAT32_BYTES if kind == WEIGHT_GRADIENT else width
        return maps + weight_width * self.weights / observations


def layers(network: NetworkConfig, *, frame_stack: int, image_size: int, num_actions: int) -> list[Layer]:
    """Returns the layers of a ConvolutionalBody in order; both heads are the last. Other bodies are not counted."""
    found: list[Layer] = []
    channels, sides = frame_stack, network.sides(image_size)
    for number, (width, kernel) in enumerate(zip(network.channels, network.kernels, strict=True), start=1):
        found.append(
            Layer(
                name=f"conv{number}",
                pixels=sides[number] ** 2,
                inner=channels * kernel**2,
                outputs=width,
                input_values=channels * sides[number - 1] ** 2,
                is_first=number == 1,
            )
        )
        channels = width
    flat = channels * sides[-1] ** 2
    found.append(Layer(name="hidden", pixels=1, inner=flat, outputs=network.hidden, input_values=flat))
    inner = network.hidden
    heads = Layer(name="heads", pixels=1, inner=inner, outputs=num_actions + 1, input_values=inner, is_head=True)
    return [*found, heads]


def layers_of(run: Config, num_actions: int) -> list[Layer]:
    """Returns the layers of a run's network."""
    return layers(run.network, frame_stack=run.env.frame_stack, image_size=run.env.image_size, num_actions=num_actions)


def operations(network: Sequence[Layer], *, epochs: int) -> dict[str, int]:
    """Returns operations per observation: `inference`, `learning` (all epochs)."""
    forward = sum(layer.operations(FORWARD) for layer in network)
    passes = sum(layer.operations(kind) for layer in network for kind in KINDS)
    return {"inference": forward, "learning": epochs * passes}


def parameters(network: Sequence[Layer]) -> int:
    """Returns the number of parameters, biases included."""
    return sum(layer.weights + layer.outputs for layer in network)


def bytes_moved(run: Config, network: Sequence[Layer], *, shares: int, value_bytes: int) -> dict[str, float]:
    """Returns the least bytes per observation of one iteration, by purpose.

    Args:
        run: Sizes.
        network: Its layers.
        shares: Threads that share batches and environments; 1 on an accelerator.
        value_bytes: Bytes of a value in the network's body.
    """
    epochs, batch = run.agent.epochs, run.batch_observations
    frame = run.env.image_size**2
    stack = frame * run.env.frame_stack
    played, learned = max(1, run.env.num_envs // shares), max(1, batch // shares)
    return {
        # Written once; per epoch a stack is read and written as bytes, then read and written as numbers of the network.
        "frames": frame + epochs * stack * (3 + value_bytes),
        "inference": sum(layer.bytes_moved(FORWARD, played, value_bytes) for layer in network),
        "learning": epochs
        * sum(layer.bytes_moved(kind, learned, value_bytes) for layer in network for kind in layer.kinds()),
        "optimizer": epochs * ADAM_PASSES * FLOAT32_BYTES * parameters(network) / batch,
    }


def bytes_held(
    run: Config, network: Sequence[Layer], *, threads: int, value_bytes: int, kernels: bool = False
) -> dict[str, int]:
    """Returns the bytes that training must hold at once, by purpose, without environments and libraries.

    Args:
        run: Sizes.
        network: Its layers.
        threads: Threads that share a batch.
        value_bytes: Bytes of a value in the network's body.
        kernels: Whether the compiled kernels compute convolutions; they keep no stacks and few images' gradients.
    """
    weights = FLOAT32_BYTES * parameters(network)
    groups = run.groups_per_batch if run.noise.enabled else 1
    frame = run.env.image_size**2
    outputs = sum(layer.pixels * layer.outputs for layer in network)
    # A stack as bytes and as numbers, and every layer's output; its gradient is as large, one layer's at a time.
    *_, hidden, _ = network
    widest = max(layer.input_values for layer in network if not layer.is_first)
    observation = frame * run.env.frame_stack * (1 + value_bytes) + value_bytes * (outputs + widest)
    if kernels:  # beside the outputs the features in the network's order, their gradient and the hidden layer's
        observation = value_bytes * (outputs - network[-1].outputs + 2 * hidden.input_values + hidden.outputs)
    found = {
        "rollout": rollout_bytes(run),
        "network": weights,
        "gradients, a row per group or thread": weights * max(groups, threads),
        "Adam's moments": 2 * weights if run.agent.optimizer == "adam" else weights,
        "activations of one batch": observation * run.batch_observations,
        # Converted and packed, by each thread that plays.
        "hidden weights for playing": 2 * value_bytes * hidden.input_values * hidden.outputs * threads,
    }
    if threads > 1:  # each plays some of the environments
        found["the threads' frames side by side"] = frames_bytes(run)
    if not kernels and block_of(run.network.kernels[0], run.network.strides[0], run.env.image_size) > 1:
        found["frames in blocks"] = frames_bytes(run)
    if run.noise.enabled and run.noise.overhead_budget:
        # Rows of all groups, by loss, and what scales them; each thread's segments of its group, and one's gradients
        # by loss.
        kept = 1 + len(LOSSES) * equal_parts(run.env.num_envs, MOST_GROUPS)
        found["the probe's gradients"] = weights * (kept + threads * (SEGMENTS + len(LOSSES)))
    return found
