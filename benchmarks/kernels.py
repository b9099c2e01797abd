"""Compares the compiled kernels, layer by layer, with torch's convolutions and with plain matrix products.

    python -m benchmarks.kernels [--preset ppo] [--observations 128] [--rounds 30]

Prints 10^9 operations a second on one thread (medians of alternating rounds, processor time): of the kernels (where
there is AMX, with its registers and without), of torch's own bfloat16 convolutions (images channels last, as in
training without the kernels) and of `torch.mm` at the shapes of the unfolded convolution. Exit codes: 0 done, 1 no
kernels here, 2 usage.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rlgns.agents.compute import native
from rlgns.agents.compute.convolutions import backward_order, forward_order, layer_shapes
from rlgns.agents.compute.precision import prepare_process
from rlgns.agents.network import build_network, in_blocks
from rlgns.config.files import presets
from rlgns.config.load import resolve
from rlgns.machine import hardware
from rlgns.machine.commit import source_commit

OUTPUTS, INPUT_GRADIENT, WEIGHT_GRADIENT = "outputs", "gradient of the input", "gradient of the weights"
WITHOUT_AMX = "kernels without AMX"
Jobs = dict[str, dict[str, Callable[[], object]]]


def jobs_of(layer: nn.Conv2d, shape: native.Layer, count: int, *, block: int) -> Jobs:
    """Returns callables for each product of a layer, by product and implementation.

    `block` is the side of the pixel blocks that torch computes with; it is given for the first layer alone, whose input
    has no gradient.
    """
    images = _random(count, shape.side**2 * shape.in_)
    gradients = _random(count, shape.out_side**2 * shape.out)
    outputs, inputs = torch.empty_like(gradients), torch.empty_like(images)
    forward = forward_order(layer.weight.detach()).to(torch.bfloat16).contiguous()
    bias, sums = torch.zeros(shape.out), torch.zeros_like(layer.weight)
    packed = torch.empty(native.TOGETHER * (images.shape[1] + gradients.shape[1] + 64), dtype=torch.bfloat16)
    jobs: Jobs = {
        OUTPUTS: {"kernels": lambda: native.call("rectified_outputs", shape, images, forward, bias, outputs, count)},
        WEIGHT_GRADIENT: {
            "kernels": lambda: native.call("gradients_of_weights", shape, images, gradients, sums, bias, packed, count)
        },
    }
    if not block:
        backward = backward_order(layer.weight.detach()).to(torch.bfloat16).contiguous()
        row = torch.empty(shape.side * shape.in_)
        jobs[INPUT_GRADIENT] = {
            "kernels": lambda: native.call(
                "gradients_of_inputs", shape, gradients, backward, images, inputs, row, count
            )
        }
    if native.call("use_amx", 1):
        for ways in jobs.values():
            ways[WITHOUT_AMX] = _without_amx(ways["kernels"])
    _add_torch(jobs, layer, shape, count, block=max(1, block))
    _add_products(jobs, shape, count)
    return jobs


def _without_amx(job: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        native.call("use_amx", 0)
        job()
        native.call("use_amx", 1)

    return run


def _add_torch(jobs: Jobs, layer: nn.Conv2d, shape: native.Layer, count: int, *, block: int) -> None:
    weight, stride = layer.weight.detach(), shape.stride
    if block > 1:
        weight, stride = in_blocks(weight, block), 1
    weight = weight.to(torch.bfloat16)
    side = shape.side // block
    images = _random(count, side, side, weight.shape[1]).permute(0, 3, 1, 2)
    gradients = _random(count, shape.out_side, shape.out_side, shape.out).permute(0, 3, 1, 2)

    def back(input_too: bool) -> object:
        strides, mask = [stride, stride], [input_too, not input_too, False]
        return torch.ops.aten.convolution_backward(
            gradients, images, weight, None, strides, [0, 0], [1, 1], False, [0, 0], 1, mask
        )

    jobs[OUTPUTS]["torch"] = lambda: torch.relu_(nn.functional.conv2d(images, weight, None, stride))
    jobs[WEIGHT_GRADIENT]["torch"] = lambda: back(False)
    if INPUT_GRADIENT in jobs:
        jobs[INPUT_GRADIENT]["torch"] = lambda: back(True)


def _add_products(jobs: Jobs, shape: native.Layer, count: int) -> None:
    rows, inner = count * shape.out_side**2, shape.kernel**2 * shape.in_
    unfolded, by_output, weight = _random(rows, inner), _random(rows, shape.out), _random(inner, shape.out)
    jobs[OUTPUTS]["torch.mm"] = lambda: unfolded @ weight
    jobs[WEIGHT_GRADIENT]["torch.mm"] = lambda: by_output.T @ unfolded
    if INPUT_GRADIENT in jobs:
        jobs[INPUT_GRADIENT]["torch.mm"] = lambda: by_output @ weight.T


def _random(*shape: int) -> Tensor:
    return torch.randn(shape).to(torch.bfloat16)


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=sorted(presets()), default="ppo")
    parser.add_argument("--observations", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    if native.library() is None:
        print("no kernels: they need AVX-512 with bfloat16 and a C compiler at install time", file=sys.stderr)
        return 1
    prepare_process(1)
    run = resolve([options.preset])
    network = build_network(run.network, num_actions=6, frame_stack=run.env.frame_stack, image_size=run.env.image_size)
    assert network.chain is not None
    layers = zip(network.chain.convolutions, layer_shapes(network), strict=True)
    print(f"{hardware.detect().describe()}, commit {source_commit()}, {options.observations} observations\n")
    names = ["kernels", *([WITHOUT_AMX] if native.call("use_amx", 1) else []), "torch", "torch.mm"]
    print(f"| layer | product | {' | '.join(names)} |\n| --- | ---{' | ---:' * len(names)} |")
    for number, (layer, shape) in enumerate(layers, start=1):
        jobs = jobs_of(layer, shape, options.observations, block=network.block if number == 1 else 0)
        operations = 2 * options.observations * shape.out_side**2 * layer.weight.numel()
        for product, ways in jobs.items():
            seconds: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(options.rounds):
                for name, way in ways.items():
                    began = time.thread_time()
                    way()
                    seconds[name].append(time.thread_time() - began)
            rates = [f"{operations / statistics.median(seconds[name]) / 1e9:,.0f}" for name in ways]
            print(f"| conv{number} | {product} | {' | '.join(rates)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
