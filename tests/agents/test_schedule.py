"""The learning rate over a run."""

import pytest

from rlgns.agents.config import AgentConfig
from rlgns.agents.schedule import learning_rate


def rate(*, observations: int = 0, batch: int = 64, anneal: bool = True) -> float:
    return learning_rate(
        AgentConfig(learning_rate=2.0, anneal=anneal),
        observations=observations,
        total_observations=100,
        batch_observations=batch,
        base_batch_observations=64,
    )


def test_annealing_is_linear_and_stops_at_zero() -> None:
    assert [rate(observations=done) for done in (0, 25, 50, 100, 130)] == pytest.approx([2.0, 1.5, 1.0, 0.0, 0.0])
    assert [rate(observations=done, anneal=False) for done in (0, 50, 100)] == [2.0, 2.0, 2.0]


def test_it_grows_with_the_square_root_of_the_batch() -> None:
    assert [rate(batch=batch, anneal=False) for batch in (16, 64, 256)] == pytest.approx([1.0, 2.0, 4.0])
    assert rate(observations=50, batch=256) == pytest.approx(2.0)
