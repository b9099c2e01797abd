"""Steps that 2 and 4 gloo ranks take together against one process that has all their groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rlgns.noise import NoiseScaleMonitor, NoiseScaleTracker, distributed
from tests.gloo import run_worker
from tests.rlgns.noise.distributed_worker import CASES, RANKS, Net, groups_of, take_steps


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank saw."""
    folder = tmp_path_factory.mktemp("ranks")
    run_worker("tests.rlgns.noise.distributed_worker", folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(RANKS)]


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    """What one process sees that has all groups of all ranks."""
    results = {}
    for name, case in CASES.items():
        model = Net().to(case.dtype)
        monitor = NoiseScaleMonitor(model, groups=sum(len(sizes) for sizes in case.groups), every=case.every)
        steps = [[g for rank in range(len(case.groups)) for g in groups_of(case, rank, step)] for step in range(3)]
        results[name] = take_steps(model, monitor, steps)
    return results


def assert_same_tensors(left: list[Any], right: list[Any], rtol: float) -> None:
    for a, b in zip(left, right, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", CASES)
def test_ranks_together_measure_what_one_process_would(
    seen: list[dict[str, Any]], alone: dict[str, dict[str, Any]], name: str
) -> None:
    case, single = CASES[name], alone[name]
    # The first step is at the same parameters to the last bit; later ones follow from rounding before them. float32
    # is summed in float32 over ranks: 1e-7 of the mean squared norm of a group's gradient.
    rtol = 1e-12 if case.dtype == torch.float64 else 1e-6
    assert single["moments"][0].ladder[0].grad_sq_norm > 2 * single["moments"][0].grad_sq, "noise that could cancel"
    for rank in range(len(case.groups)):
        mine = seen[rank][name]
        for ours, theirs in zip(mine["moments"], single["moments"], strict=True):
            if theirs is None:
                assert ours is None and case.every
                continue
            size = theirs.ladder[0].grad_sq_norm
            assert ours.grad_sq == pytest.approx(theirs.grad_sq, rel=rtol, abs=rtol * size)
            assert ours.trace == pytest.approx(theirs.trace, rel=rtol)
            assert (ours.groups, ours.observations) == (theirs.groups, theirs.observations)
            for rung, other in zip(ours.ladder, theirs.ladder, strict=True):
                assert rung.grad_sq_norm == pytest.approx(other.grad_sq_norm, rel=rtol)
        for gradients, others in zip(mine["gradients"], single["gradients"], strict=True):
            assert_same_tensors(gradients, others, rtol)
        assert_same_tensors(mine["parameters"], single["parameters"], rtol)
        assert mine["state"] == seen[0][name]["state"], "every rank holds the same sums, to the last bit"


@pytest.mark.parametrize("name", [n for n, case in CASES.items() if len(set(case.groups)) == 1 and case.wrapped])
def test_the_gradient_left_is_the_one_that_distributed_data_parallel_leaves(
    seen: list[dict[str, Any]], name: str
) -> None:
    rtol = 1e-12 if CASES[name].dtype == torch.float64 else 1e-6
    for rank in range(len(CASES[name].groups)):
        assert_same_tensors(seen[rank][name]["gradients"][0], seen[rank][name]["plain"], rtol)


def test_each_rank_alone_would_measure_something_else(
    seen: list[dict[str, Any]], alone: dict[str, dict[str, Any]]
) -> None:
    # The twin that is wrong: the mean over ranks of what each measures in its own groups.
    case = CASES["four ranks"]
    own = []
    for rank in range(RANKS):
        monitor = NoiseScaleMonitor(model := Net().to(case.dtype), groups=2)
        own.append(take_steps(model, monitor, [groups_of(case, rank, 0)])["moments"][0].grad_sq)
    assert np.mean(own) != pytest.approx(alone["four ranks"]["moments"][0].grad_sq, rel=0.01)
    assert seen[0]["four ranks"]["moments"][0].grad_sq == pytest.approx(
        alone["four ranks"]["moments"][0].grad_sq, rel=1e-12
    )


def test_a_gradient_that_is_not_finite_on_one_rank_is_skipped_on_all(seen: list[dict[str, Any]]) -> None:
    for rank in range(RANKS):
        first, second, third, fourth = seen[rank]["overflow"]["seen"]
        assert first == (0, 1, 2.0**19, False)
        assert second == (0, 2, 2.0**18, False)
        assert third == (0, 2, 2.0**18, True)  # sets the gradients' size
        assert fourth == (1, 2, 2.0**18, True)
        assert seen[rank]["overflow"]["state"] == seen[0]["overflow"]["state"]


def test_ranks_of_different_speed_measure_the_same_steps(seen: list[dict[str, Any]]) -> None:
    assert 2 <= sum(seen[0]["paced"]) <= 12
    assert all(rank["paced"] == seen[0]["paced"] for rank in seen)


def test_running_statistics_are_those_of_the_first_rank(seen: list[dict[str, Any]]) -> None:
    for step in range(3):
        for rank in range(RANKS):
            torch.testing.assert_close(seen[rank]["buffers"][step], seen[0]["buffers"][step], rtol=0, atol=0)
    assert not torch.equal(seen[0]["buffers"][1], seen[0]["buffers"][2])


def test_ranks_that_do_not_fit_together_fail(seen: list[dict[str, Any]]) -> None:
    for rank in range(RANKS):
        scales, models, static_graph = seen[rank]["mistakes"]
        assert scales == "ranks use different loss scales: [1.0, 2.0, 4.0, 8.0]"
        assert models == "ranks hold different models: [1, 2] parameters"
        assert "static_graph=False" in static_graph


def test_the_state_of_any_rank_goes_on_alone(seen: list[dict[str, Any]]) -> None:
    tracker = NoiseScaleTracker()
    tracker.load_state_dict(seen[3]["four ranks"]["state"])
    assert tracker.estimate().updates == 2, "the first step sets the size"


def test_messages_hold_neighbours_of_one_type_up_to_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "ELEMENTS_PER_BUCKET", 10)
    sizes = [(3, torch.float32), (7, torch.float32), (1, torch.float32), (2, torch.float64), (50, torch.float64)]
    tensors = [torch.zeros(n, dtype=dtype) for n, dtype in sizes]
    buckets = list(distributed._buckets(tensors))
    assert [[t.numel() for t in bucket] for bucket in buckets] == [[3, 7], [1], [2], [50]]
    assert list(distributed._buckets([])) == []
