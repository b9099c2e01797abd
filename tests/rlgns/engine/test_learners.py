"""Several learners compared with one on the same rollouts: weights, statistics, noise scale and probe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rlgns.agents.compute.data_parallel import DataParallel
from tests.agents.synthetic import small_network
from tests.gloo import run_worker
from tests.rlgns.engine.learners_worker import COUNTS, learn

Seen = dict[int, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What each learner saw, by the number of learners."""
    folder = tmp_path_factory.mktemp("learners")
    run_worker("tests.rlgns.engine.learners_worker", folder)
    load = {count: [folder / f"{count}-{rank}.pt" for rank in range(count)] for count in COUNTS}
    return {count: [torch.load(path, weights_only=False) for path in paths] for count, paths in load.items()}


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    """What one learner sees."""
    return learn(DataParallel())


def assert_close(one: Any, other: Any, where: str = "", *, rel: float) -> None:
    """Compares rows and states, number by number; lists and dictionaries of equal form."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key, value in one.items():
            assert_close(value, other[key], f"{where}/{key}", rel=rel)
    elif isinstance(one, list | tuple):
        numbers = all(isinstance(value, float) for value in one)
        if numbers:  # rounding is relative to the largest of what is summed
            np.testing.assert_allclose(one, other, rtol=rel, atol=rel * max(map(abs, one), default=0), err_msg=where)
        else:
            assert len(one) == len(other), where
            for index, (left, right) in enumerate(zip(one, other, strict=True)):
                assert_close(left, right, f"{where}/{index}", rel=rel)
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=rel, abs=1e-7, nan_ok=True), where
    else:
        assert one == other, where


@pytest.mark.parametrize("count", COUNTS)
def test_the_weights_are_those_of_one_learner(seen: Seen, alone: dict[str, Any], count: int) -> None:
    """In float32, relative to what an iteration changes: 1e-5 after 4 steps, 1e-4 after 8."""
    for learner in seen[count]:
        before = torch.cat([p.detach().double().flatten() for p in small_network().parameters()])
        for mine, its, tolerance in zip(alone["weights"], learner["weights"], (1e-5, 1e-4), strict=True):
            change = (mine - before).norm()
            assert change > 1e-3
            assert (mine - its).norm() < tolerance * change
            before = mine


@pytest.mark.parametrize("count", COUNTS)
def test_all_learners_hold_the_same_weights_bit_for_bit(seen: Seen, count: int) -> None:
    for learner in seen[count]:
        assert learner["checksums"] == seen[count][0]["checksums"]
    assert seen[count][0]["checksums"][0] != seen[count][0]["checksums"][1]


@pytest.mark.parametrize("count", COUNTS)
def test_the_statistics_are_those_of_one_learner(seen: Seen, alone: dict[str, Any], count: int) -> None:
    for learner in seen[count]:
        for mine, its in zip(alone["stats"], learner["stats"], strict=True):
            assert its.metrics == pytest.approx(mine.metrics, rel=1e-4, abs=1e-6)
            assert its.optimizer_steps == mine.optimizer_steps


@pytest.mark.parametrize("count", COUNTS)
def test_the_noise_scale_is_that_of_one_learner(seen: Seen, alone: dict[str, Any], count: int) -> None:
    """Moments, ladder, design effect and every view of the probe, the same on every learner."""
    for learner in seen[count]:
        assert learner["noise"] == seen[count][0]["noise"]
        assert learner["probe"] == seen[count][0]["probe"]
        for mine, its in zip(alone["rows"], learner["rows"], strict=True):
            assert len(its["noise/ladder"]) == 3
            assert its["noise/by_loss/value/trace"] > 0
            assert_close(mine, its, rel=2e-4)
        assert_close(alone["noise"], learner["noise"], rel=2e-4)


def test_columns_of_one_learner_alone_are_not_enough(alone: dict[str, Any]) -> None:
    """Power: a learner that forgets the others' columns gets a different noise scale."""
    forgetful = DataParallel()
    forgetful.columns = lambda rows, total: rows[:, : rows.shape[1] // 2]  # type: ignore[method-assign]
    forgetful.joined = lambda part, length: torch.nn.functional.pad(part, (0, length - len(part)))  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        assert_close(alone["rows"], learn(forgetful)["rows"], rel=2e-4)


def test_the_first_learner_decides(seen: Seen) -> None:
    for count in COUNTS:
        assert all(learner["first"] == (True, False) for learner in seen[count])


def test_no_learner_waits_forever_for_a_dead_or_silent_one(seen: Seen) -> None:
    survivor = seen[2][0]
    assert "closed by peer" in survivor["dead"] or "reset by peer" in survivor["dead"]
    assert "Timed out" in survivor["late"]


def test_shares_are_whole_and_nearly_equal() -> None:
    for count in (1, 2, 3, 7):
        for total in (0, 1, 6, 8):
            learners = [_placed(rank, count) for rank in range(count)]
            shares = [list(range(total))[learner.share(total)] for learner in learners]
            assert [item for share in shares for item in share] == list(range(total))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
            columns = [list(range(total))[learner.own_columns(total)] for learner in learners]
            assert [item for part in columns for item in part] == list(range(total))


def _placed(rank: int, count: int) -> DataParallel:
    """A learner's place without the others."""
    learner = DataParallel()
    learner.rank, learner.count = rank, count
    return learner
