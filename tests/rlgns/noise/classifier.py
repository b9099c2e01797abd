"""A small classifier that NoiseScaleMonitor is tried on: model, batches, loss, parts."""

from __future__ import annotations

import torch

Batch = tuple[torch.Tensor, torch.Tensor]


def make_model(dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).to(dtype)


def make_batch(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(count, 6, generator=generator).to(dtype),
        torch.randint(0, 3, (count,), generator=generator),
    )


def loss_of(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])


def parts_of(batch: Batch, parts: int) -> list[Batch]:
    return list(zip(batch[0].chunk(parts), batch[1].chunk(parts), strict=True))


def gradients_of(model: torch.nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]
