"""Threads that share a step's work."""

import threading

import pytest
import torch

from rlgns.agents.compute.team import Team


@pytest.mark.parametrize("size", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(size: int) -> None:
    team = Team(size)
    assert team.map(lambda item: item * item, range(10)) == [item * item for item in range(10)]
    team.close()


def test_jobs_run_side_by_side() -> None:
    team, both = Team(2), threading.Barrier(2, timeout=30)
    assert len(set(team.map(lambda _: (both.wait(), threading.get_ident())[1], range(2)))) == 2
    team.close()


def test_an_exception_is_raised_once_every_job_has_ended() -> None:
    team, failed, ended = Team(2), threading.Event(), []

    def job(item: int) -> None:
        if item == 0:
            failed.set()
            raise ValueError("job 0")
        assert failed.wait(30)
        torch.ones(300, 300).matmul(torch.ones(300, 300))
        ended.append(item)

    with pytest.raises(ValueError, match="job 0"):
        team.map(job, range(4))
    assert sorted(ended) == [1, 2, 3]
    assert team.map(lambda item: item, [7, 8]) == [7, 8]  # the team still works
    team.close()


@pytest.mark.parametrize(("size", "items"), [(1, 3), (2, 1)])
def test_a_single_job_or_thread_runs_in_the_callers_thread(size: int, items: int) -> None:
    team = Team(size)
    assert set(team.map(lambda _: threading.get_ident(), range(items))) == {threading.get_ident()}
    team.close()


def test_threads_compute_alone_and_flush_denormals() -> None:
    team, both = Team(2), threading.Barrier(2, timeout=30)

    def job(_: int) -> tuple[int, float]:
        both.wait()
        return torch.get_num_threads(), (torch.tensor([1e-30]) * torch.tensor([1e-10])).item()

    assert team.map(job, range(2)) == [(1, 0.0), (1, 0.0)]
    team.close()


def test_a_closed_team_refuses_work() -> None:
    team = Team(2)
    team.close()
    team.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        team.map(lambda item: item, range(2))
