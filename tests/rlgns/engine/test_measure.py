"""The ride-along's own arithmetic: inner products that a team of threads shares."""

from contextlib import closing

import pytest
import torch

from agents import native
from agents.team import Team
from agents.update import GroupSplit
from rlgns.engine.measure import RideAlong
from rlgns.noise import gram, moments_from_gram
from rlgns.noise.config import NoiseConfig
from tests.agents.test_convolutions import needs_kernels


def row_of(gradients: list[torch.Tensor], threads: int) -> dict[str, object]:
    with closing(Team(threads)) as team:
        measure = RideAlong(NoiseConfig(), minibatches=4, team=team)
        for batch in gradients:
            measure.on_groups(batch, GroupSplit(observations_per_group=128, shuffled=False))
        return measure.report(optimizer_steps=4, batch_observations=512)


@pytest.mark.parametrize("columns", [3, 70_000])
@pytest.mark.parametrize("kernels", [False, pytest.param(True, marks=needs_kernels)])
def test_threads_share_the_products_and_change_nothing(
    columns: int, kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels:
        monkeypatch.setattr(native, "library", lambda: None)
    torch.manual_seed(0)
    gradients = [0.1 + torch.randn(4, columns) for _ in range(6)]
    alone = row_of(gradients, 1)
    assert row_of(gradients, 2) == alone
    assert row_of(gradients, 3) == alone
    moments = [moments_from_gram(gram(batch), 128) for batch in gradients]
    assert alone["noise/trace"] == pytest.approx(sum(m.trace for m in moments) / 6, rel=1e-5)
    assert alone["noise/grad_sq"] == pytest.approx(sum(m.grad_sq for m in moments) / 6, rel=1e-3)
