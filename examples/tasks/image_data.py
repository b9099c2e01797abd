"""Images and labels: scikit-learn's digits, .npz files, torchvision's datasets and ImageNet folders."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlgns.errors import UserError

PIXEL_KEYS = ("x", "x_train", "images")
LABEL_KEYS = ("y", "y_train", "labels")
TORCHVISION = {"mnist": "MNIST", "fashion": "FashionMNIST", "svhn": "SVHN", "cifar10": "CIFAR10"}
"""Dataset's name here and in torchvision."""
FOLDER_SIDE = 64
"""Pixels to which the images of a folder are scaled and cropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageData:
    """Images with labels, fetched by their places."""

    count: int
    classes: int
    fetch: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Returns pixels [n, channels, height, width] from 0 to 1 and labels [n] of the places [n]."""


def load_images(dataset: str, data: Path | None) -> ImageData:
    """Returns a dataset's training images.

    Args:
        dataset: digits, imagenet or a name in TORCHVISION.
        data: a .npz file in place of the dataset; else the folder of torchvision's files, by default `data`.

    Raises:
        UserError: No such file, other arrays in it, or torchvision is needed and not installed.
    """
    if data is not None and data.suffix == ".npz":
        return _from_npz(data)
    if dataset == "digits":
        return _digits()
    vision = _torchvision(dataset)
    root = data or Path("data")
    if dataset == "imagenet":
        return _from_folder(vision, root)
    of_split: dict[str, Any] = {"split": "train"} if dataset == "svhn" else {"train": True}
    images = getattr(vision.datasets, TORCHVISION[dataset])(str(root), download=True, **of_split)
    labels = images.labels if dataset == "svhn" else images.targets
    return from_arrays(np.asarray(images.data), np.asarray(labels))


def from_arrays(pixels: np.ndarray, labels: np.ndarray) -> ImageData:
    """Returns the data of arrays [n, height, width], with channels second or last, or of flat squares [n, pixels].

    Raises:
        ValueError: Another shape, or another number of labels.
    """
    if pixels.ndim == 2 and math.isqrt(pixels.shape[1]) ** 2 == pixels.shape[1]:
        side = math.isqrt(pixels.shape[1])
        pixels = pixels.reshape(-1, side, side)
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.ndim == 4 and pixels.shape[3] in (1, 3) and pixels.shape[1] not in (1, 3):
        pixels = pixels.transpose(0, 3, 1, 2)
    if pixels.ndim != 4 or labels.shape != pixels.shape[:1] or not len(labels):
        raise ValueError(f"images {list(pixels.shape)} and labels {list(labels.shape)} do not fit")
    stored, brightest = torch.from_numpy(np.ascontiguousarray(pixels)), float(pixels.max()) or 1.0
    kinds = torch.from_numpy(labels.astype(np.int64))
    return ImageData(
        count=len(kinds),
        classes=int(kinds.max()) + 1,
        fetch=lambda places: (stored[places].to(torch.float32) / brightest, kinds[places]),
    )


def _digits() -> ImageData:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError("the digits need scikit-learn, which is not installed: pip install -e '.[examples]'") from None
    pixels, labels = load_digits(return_X_y=True)
    return from_arrays(pixels.astype(np.uint8), labels)


def _from_npz(path: Path) -> ImageData:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {
                key: next((arrays[name] for name in key if name in arrays), None) for key in (PIXEL_KEYS, LABEL_KEYS)
            }
            names = ", ".join(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"--data {path}: cannot be read as .npz: {error}") from error
    pixels, labels = found[PIXEL_KEYS], found[LABEL_KEYS]
    if pixels is None or labels is None:
        raise UserError(
            f"--data {path} holds {names}; needed: images as {' or '.join(PIXEL_KEYS)}, "
            f"labels as {' or '.join(LABEL_KEYS)}"
        )
    try:
        return from_arrays(pixels, labels)
    except ValueError as error:
        raise UserError(f"--data {path}: {error}") from error


def _torchvision(dataset: str) -> Any:
    try:
        import torchvision
    except ImportError:
        raise UserError(
            f"{dataset} needs torchvision, which is not installed: pip install torchvision, or name a file with "
            "--data FILE.npz"
        ) from None
    return torchvision


def _from_folder(vision: Any, root: Path) -> ImageData:
    """A folder with a folder of images per class, as ImageNet's train/; images are read when they are drawn."""
    transforms = vision.transforms
    steps = [transforms.Resize(FOLDER_SIDE), transforms.CenterCrop(FOLDER_SIDE), transforms.ToTensor()]
    try:
        images = vision.datasets.ImageFolder(str(root), transforms.Compose(steps))
    except (OSError, RuntimeError) as error:
        raise UserError(f"--data {root}: no folder of images by class: {error}") from error

    def fetch(places: Tensor) -> tuple[Tensor, Tensor]:
        pixels, labels = zip(*(images[place] for place in places.tolist()), strict=True)
        return torch.stack(pixels), torch.tensor(labels)

    return ImageData(count=len(images), classes=len(images.classes), fetch=fetch)
