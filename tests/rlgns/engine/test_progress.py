"""A run's progress, iteration by iteration and through a checkpoint."""

from __future__ import annotations

from rlgns.engine.progress import SCORED_EPISODES, TrainingProgress

KEYS = {
    "iteration",
    "observations",
    "optimizer_steps",
    "seconds",
    "num_envs",
    "held_iterations",
    "scores",
    "episodes",
}


def after(progress: TrainingProgress, *, num_envs: int = 4, scores: tuple[float, ...] = ()) -> TrainingProgress:
    return progress.after(observations=32, optimizer_steps=2, scores=scores, num_envs=num_envs)


def test_an_iteration_adds_up() -> None:
    start = TrainingProgress(num_envs=4)
    first = after(start, scores=(1.0, 2.0))
    second = after(first, scores=(3.0,))
    assert start == TrainingProgress(num_envs=4)
    assert (second.iteration, second.observations, second.optimizer_steps) == (2, 64, 4)
    assert (second.scores, second.episodes) == ((1.0, 2.0, 3.0), 3)


def test_only_the_newest_scores_are_kept() -> None:
    progress = after(TrainingProgress(num_envs=4), scores=tuple(map(float, range(SCORED_EPISODES + 20))))
    assert progress.scores == tuple(map(float, range(20, SCORED_EPISODES + 20)))
    assert progress.episodes == SCORED_EPISODES + 20


def test_held_iterations_count_from_the_last_change() -> None:
    progress, held = TrainingProgress(num_envs=4), []
    for num_envs in (4, 4, 8, 8, 4):
        progress = after(progress, num_envs=num_envs)
        held.append(progress.held_iterations)
    assert held == [1, 2, 0, 1, 0]


def test_a_checkpoint_holds_plain_types_and_restores_it() -> None:
    progress = after(TrainingProgress(num_envs=4, seconds=1.5), scores=(1.0,))
    state = progress.as_dict()
    assert set(state) == KEYS
    assert state["scores"] == [1.0]
    assert TrainingProgress.from_dict(state | {"game": "pong"}) == progress
