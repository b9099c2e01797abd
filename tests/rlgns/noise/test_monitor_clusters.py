"""Clusters by an id: groups of whole clusters, against a slow twin, and the shuffled twin that must fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlgns.noise import NoiseScaleMonitor
from rlgns.noise.clusters import split_by_cluster
from tests.reference.noise import observation_gradients
from tests.rlgns.noise.classifier import gradients_of, loss_of, make_batch, make_model

IDS = ["c", "a", "a", "c", "b", "d", "d", "d", "e", "b", "a", "f"]


def losses_of(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def test_clusters_are_dealt_whole_and_in_turn() -> None:
    groups = split_by_cluster(IDS, 4)
    assert [[IDS[i] for i in rows] for rows in groups] == [list("cce"), list("aaaf"), list("bb"), list("ddd")]
    assert torch.equal(torch.cat(groups).sort().values, torch.arange(len(IDS)))
    numbers = torch.tensor([7, 7, 3, 7, 3])
    assert [rows.tolist() for rows in split_by_cluster(numbers, 8)] == [[0, 1, 3], [2, 4]]
    with pytest.raises(ValueError, match="an id per observation, got none"):
        split_by_cluster([], 2)


def slow(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[float, float]:
    """|G|^2 and trace, pair by pair, of the groups that `split_by_cluster` makes of IDS."""
    one = lambda i: loss_of(model, (batch[0][i : i + 1], batch[1][i : i + 1]))  # noqa: E731
    rows = observation_gradients(model, one, len(IDS))
    sums = [rows[group.numpy()].sum(axis=0) for group in split_by_cluster(IDS, 4)]
    sizes = [len(group) for group in split_by_cluster(IDS, 4)]
    pairs = [(j, k) for j in range(4) for k in range(4) if j != k]
    grad_sq = sum(sums[j] @ sums[k] for j, k in pairs) / sum(sizes[j] * sizes[k] for j, k in pairs)
    mean = sum(sums) / sum(sizes)
    spread = sum(n * np.sum((s / n - mean) ** 2) for s, n in zip(sums, sizes, strict=True))
    return grad_sq, spread / 3


@pytest.mark.parametrize("how", ["vector", "list", "split"])
def test_moments_are_those_of_whole_clusters(how: str) -> None:
    model, batch = make_model(), make_batch(len(IDS))
    monitor = NoiseScaleMonitor(model, groups=4)
    with monitor.step():
        if how == "split":
            for rows in monitor.split(IDS):
                monitor.backward(loss_of(model, (batch[0][rows], batch[1][rows])), observations=len(rows))
        else:
            losses = losses_of(model, batch)
            monitor.backward(losses if how == "vector" else list(losses), cluster_ids=IDS)
    left = gradients_of(model)
    assert monitor.moments is not None
    grad_sq, trace = slow(model, batch)
    assert monitor.moments.grad_sq == pytest.approx(grad_sq, rel=1e-9)
    assert monitor.moments.trace == pytest.approx(trace, rel=1e-9)
    model.zero_grad()
    loss_of(model, batch).backward()
    for mine, plain in zip(left, gradients_of(model), strict=True):
        torch.testing.assert_close(mine, plain)


def test_a_step_that_is_not_measured_is_one_pass_over_all_clusters() -> None:
    model, batch = make_model(), make_batch(len(IDS))
    monitor = NoiseScaleMonitor(model, groups=4, overhead=0.0)
    assert [rows.tolist() for rows in monitor.split(IDS)] == [list(range(len(IDS)))]
    with monitor.step():
        monitor.backward(losses_of(model, batch), cluster_ids=IDS)
    left = gradients_of(model)
    model.zero_grad()
    loss_of(model, batch).backward()
    for mine, plain in zip(left, gradients_of(model), strict=True):
        torch.testing.assert_close(mine, plain)


def test_losses_may_stand_for_several_observations() -> None:
    """A document's mean loss over 3 tokens counts as 3."""
    model, batch = make_model(), make_batch(6)
    twice = [NoiseScaleMonitor(model, groups=2) for _ in range(2)]
    with twice[0].step():
        twice[0].backward(losses_of(model, batch), cluster_ids=[0, 0, 1, 1, 1, 1])
    with twice[1].step():
        losses = losses_of(model, batch)
        means = torch.stack([losses[:2].mean(), losses[2:].mean()])
        twice[1].backward(means, cluster_ids=["x", "y"], observations=[2, 4])
    first, second = (monitor.moments for monitor in twice)
    assert first is not None and second is not None
    assert second.grad_sq == pytest.approx(first.grad_sq, rel=1e-6)
    assert second.trace == pytest.approx(first.trace, rel=1e-6)


def test_repeated_observations_need_their_cluster() -> None:
    """Every observation four times: as clusters the noise scale is right, split by position it is not.

    120 batches of 16 clusters, fixed; truth from 40,000 observations.
    """
    model, noise = make_model(), {}
    for name in ("clusters", "positions"):
        monitor = NoiseScaleMonitor(model, groups=8)
        for seed in range(120):
            inputs, labels = make_batch(16, seed=seed)
            order = torch.randperm(64, generator=torch.Generator().manual_seed(seed))
            ids = torch.arange(16).repeat(4)[order]
            with monitor.step():
                losses = losses_of(model, (inputs, labels))[ids]
                monitor.backward(losses, cluster_ids=ids if name == "clusters" else torch.arange(64))
        noise[name] = monitor.estimate()
    rows = gradients_of_all(model, make_batch(40_000, seed=1000))
    grad_sq, single = float(rows.mean(0).square().sum()), float(rows.var(0).sum())
    truth = 4 * single / (grad_sq - single / len(rows))
    assert noise["clusters"].low <= truth <= noise["clusters"].high
    assert noise["positions"].high < 0.7 * truth


def gradients_of_all(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """[n, parameters]."""
    values = {name: p.detach() for name, p in model.named_parameters()}

    def loss(values: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(model, values, (x[None],))
        return torch.nn.functional.cross_entropy(logits, y[None])

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(values, *batch)
    return torch.cat([g.flatten(1) for g in found.values()], dim=1)


def test_mistakes() -> None:
    model, batch = make_model(), make_batch(4)
    monitor = NoiseScaleMonitor(model, groups=2)
    for arguments, words in (
        ({"cluster_ids": [1, 2]}, r"as many as the losses; got 2 ids for losses of shape \[4\]"),
        ({"cluster_ids": [1, 1, 1, 1]}, "at least 2 clusters, got 1"),
        ({"cluster_ids": [1, 1, 2, 2], "observations": [1, 2]}, "positive, one per loss; got"),
        ({"cluster_ids": [1, 1, 2, 2], "observations": [1, 2, 0, 1]}, "positive, one per loss; got"),
        ({"observations": [1, 2]}, "needs cluster_ids"),
    ):
        with pytest.raises(ValueError, match=words), monitor.step():
            monitor.backward(losses_of(model, batch), **arguments)
    with pytest.raises(ValueError, match="given once"), monitor.step(observations=4):
        monitor.backward(losses_of(model, batch), cluster_ids=[1, 1, 2, 2])
    with pytest.raises(ValueError, match=r"leave out step\(parts"), monitor.step(parts=4):
        monitor.backward(losses_of(model, batch), cluster_ids=[1, 1, 2, 2])
