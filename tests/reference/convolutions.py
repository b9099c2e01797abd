"""Convolutions in bfloat16, every position by itself, as a plain loop."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch


def to_bfloat16(numbers: np.ndarray) -> np.ndarray:
    """Rounds to the nearest number that bfloat16 has."""
    return torch.from_numpy(np.asarray(numbers, np.float64)).to(torch.bfloat16).double().numpy()


def slow_convolutions(
    images: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray, int]], gradient: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rectified convolutions of images [n, channels, side, side], and the gradients by every weight and bias.

    Each layer is weights [out, in, k, k], biases and stride. Between layers, and on the way back, all is rounded to
    bfloat16, as are the weights; sums are exact. `gradient` gives that by the last outputs [n, out, side, side].
    """
    inputs = [images]
    for weight, bias, stride in layers:
        kernel, side = weight.shape[2], (inputs[-1].shape[2] - weight.shape[2]) // stride + 1
        outputs = np.zeros((len(images), len(weight), side, side))
        for y, x in itertools.product(range(side), repeat=2):
            seen = inputs[-1][:, :, y * stride : y * stride + kernel, x * stride : x * stride + kernel]
            outputs[:, :, y, x] = np.einsum("ncij,ocij->no", seen, to_bfloat16(weight)) + bias
        inputs.append(to_bfloat16(np.maximum(outputs, 0)))
    back = np.where(inputs[-1] > 0, to_bfloat16(gradient(inputs[-1])), 0)
    gradients: list[np.ndarray] = []
    for (weight, _, stride), seen in zip(reversed(layers), reversed(inputs[:-1]), strict=True):
        kernel, by_weight, by_input = weight.shape[2], np.zeros(weight.shape), np.zeros(seen.shape)
        for y, x in itertools.product(range(back.shape[2]), repeat=2):
            rows, columns = slice(y * stride, y * stride + kernel), slice(x * stride, x * stride + kernel)
            by_weight += np.einsum("no,ncij->ocij", back[:, :, y, x], seen[:, :, rows, columns])
            by_input[:, :, rows, columns] += np.einsum("no,ocij->ncij", back[:, :, y, x], to_bfloat16(weight))
        gradients[:0] = [by_weight, back.sum((0, 2, 3))]
        back = np.where(seen > 0, to_bfloat16(by_input), 0)
    return inputs[-1], gradients
