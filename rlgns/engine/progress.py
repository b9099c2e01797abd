"""How far a run is, and how long its newest iteration took."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SCORED_EPISODES = 100
"""Newest full games that the score is the mean of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingProgress:
    """What a run has done so far; the fields are keys of its checkpoints."""

    iteration: int = 0
    """Iterations done."""
    observations: int = 0
    optimizer_steps: int = 0
    seconds: float = 0.0
    """Wall-clock time in training."""
    num_envs: int
    """Environments that the next iteration uses: an adaptive batch changes it."""
    held_iterations: int = 0
    """Iterations done since `num_envs` changed."""
    scores: tuple[float, ...] = ()
    """Of the newest full games, at most SCORED_EPISODES."""
    episodes: int = 0
    """Full games ended."""

    def after(
        self, *, observations: int, optimizer_steps: int, scores: Sequence[float], num_envs: int
    ) -> TrainingProgress:
        """Returns the progress after one more iteration; `seconds` is added when the iteration ends.

        Args:
            observations: Of the iteration.
            optimizer_steps: Of the iteration.
            scores: Of the full games that ended in it.
            num_envs: Environments that the next iteration uses.
        """
        return dataclasses.replace(
            self,
            iteration=self.iteration + 1,
            observations=self.observations + observations,
            optimizer_steps=self.optimizer_steps + optimizer_steps,
            num_envs=num_envs,
            held_iterations=self.held_iterations + 1 if num_envs == self.num_envs else 0,
            scores=(*self.scores, *scores)[-SCORED_EPISODES:],
            episodes=self.episodes + len(scores),
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns the entries of a checkpoint, plain types."""
        return dataclasses.asdict(self) | {"scores": list(self.scores)}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> TrainingProgress:
        """Returns what `as_dict` wrote; other entries are ignored."""
        values = {field.name: state[field.name] for field in dataclasses.fields(cls)}
        return cls(**values | {"scores": tuple(values["scores"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Seconds of one iteration."""

    iteration_s: float
    """From its begin to its row."""
    sample_s: float
    """Playing, or waiting for what was played ahead."""
    learn_s: float
    """Learning, with measuring."""
    measure_s: float
    """The measurement's own arithmetic and the probe, within learning."""
