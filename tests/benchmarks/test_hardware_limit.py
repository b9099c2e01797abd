"""The hardware limit: its parts add up, and its products have the network's shapes."""

import pytest
import torch

from benchmarks import hardware_limit
from benchmarks.hardware_limit import Limit, table
from benchmarks.operations import operations
from rlgns.config.load import resolve

SIZES = {
    "env.num_envs": 4,
    "env.image_size": 36,
    "env.stagger_steps": 0,
    "agent.rollout_steps": 8,
    "agent.epochs": 3,
    "agent.minibatches": 2,
}


def test_the_limit_is_environments_and_products_of_all_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware_limit, "PRODUCT_S", 1e-4)
    monkeypatch.setattr(hardware_limit, "SQUARE", 32)
    monkeypatch.setattr(hardware_limit, "COPIED_BYTES", 2**10)
    products: list[tuple[int, int, int]] = []
    real = Limit._product

    def watched(self: Limit, left: torch.Tensor, right: torch.Tensor) -> object:
        products.append((left.shape[0], left.shape[1], right.shape[1]))
        return real(self, left, right)

    monkeypatch.setattr(Limit, "_product", watched)
    limit = Limit(resolve(["ppo"], SIZES), "pong", threads=2)
    found = limit.measure(16)
    limit.close()
    assert (limit.learned, limit.played, limit.shares) == (8, 2, 2)  # of a batch of 16, of 4 environments
    assert 1 / found["limit"] == pytest.approx(1 / found["env_rate"] + found["learn_s"] + found["inference_s"])
    learn_s = inference_s = 0.0
    for layer in limit.layers:
        learn_s += 3 * sum(layer.operations(kind) / found[f"{layer.name}, {kind}"] for kind in layer.kinds())
        inference_s += layer.operations("forward") / found[f"{layer.name}, inference"]
    assert (found["learn_s"], found["inference_s"]) == pytest.approx((learn_s, inference_s))
    counted = operations(limit.layers, epochs=3)
    assert found["learn_rate"] == pytest.approx(counted["learning"] / learn_s)
    at_peak = 1 / found["env_rate"] + (counted["learning"] + counted["inference"]) / found["peak_rate"]
    assert 1 / found["peak_limit"] == pytest.approx(at_peak)
    wanted = [layer.shape(kind, 8) for layer in limit.layers for kind in layer.kinds()]
    wanted += [layer.shape("forward", 2) for layer in limit.layers] + [(32, 32, 32)]
    assert sorted(products) == sorted(2 * wanted)  # one product per thread
    lines = table(limit, [found])
    assert len(lines) == 2 + sum(len(layer.kinds()) + 1 for layer in limit.layers)
