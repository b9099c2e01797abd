"""A model sharded over 2 gloo processes by FSDP2 against the plain model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.gloo import run_worker
from tests.rlgns.noise.sharded_worker import RANKS, make_model, train


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank saw."""
    folder = tmp_path_factory.mktemp("shards")
    run_worker("tests.rlgns.noise.sharded_worker", folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(RANKS)]


@pytest.mark.parametrize(("case", "every"), [("always", None), ("sometimes", 2)])
def test_shards_measure_and_train_as_the_plain_model(seen: list[dict[str, Any]], case: str, every: int | None) -> None:
    plain = train(make_model(), None, every)
    assert [moments is None for moments in plain["moments"]] == [bool(every) and step % 2 == 1 for step in range(4)]
    for rank in range(RANKS):
        mine = seen[rank][case]
        for ours, theirs in zip(mine["moments"], plain["moments"], strict=True):
            assert (ours is None) == (theirs is None)
            if theirs is not None:
                assert ours.grad_sq == pytest.approx(theirs.grad_sq, rel=1e-9)
                assert ours.trace == pytest.approx(theirs.trace, rel=1e-9)
                assert (ours.groups, ours.observations) == (theirs.groups, theirs.observations)
        for ours, theirs in zip(mine["parameters"], plain["parameters"], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
        assert mine["state"] == seen[0][case]["state"]


def test_what_cannot_be_measured_is_one_error_on_every_rank(seen: list[dict[str, Any]]) -> None:
    for rank in range(RANKS):
        unequal, partly = seen[rank]["mistakes"]
        assert unequal.startswith("processes of a sharded model need as many observations in each group")
        assert unequal.endswith("got [[4.0, 4.0], [5.0, 5.0]]")
        assert partly.startswith("sharded parameters must all be sharded over one mesh")
