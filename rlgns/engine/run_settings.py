"""What algorithm, runners and learners read of a run: its configuration, and its place in the session."""

from __future__ import annotations

import dataclasses

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from rlgns.config.schema import Config
from rlgns.machine.placement import Placement


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrialSpec:
    """What sets one training apart from the others of a session."""

    game: str
    """ROM name."""
    num_actions: int
    """Of the game under the run's protocol."""
    folder: str
    """The run's folder, absolute."""
    placement: Placement
    """CPUs, threads and GPUs of its processes."""
    name: str = ""
    """Tells trials of a session apart; shows in Ray's lists."""


class RunSettings(AlgorithmConfig):
    """RLlib's configuration object with ours inside; `AtariPPOConfig` derives RLlib's own settings from it."""

    def __init__(self, algo_class: type | None = None) -> None:
        """Starts empty."""
        super().__init__(algo_class)
        self.run_config: Config | None = None
        self.trial_config: TrialSpec | None = None
        self.learner_threads: int = 1
        self.driver_threads: int = 1

    @property
    def run(self) -> Config:
        """The resolved configuration."""
        assert self.run_config is not None
        return self.run_config

    @property
    def trial(self) -> TrialSpec:
        """The trial."""
        assert self.trial_config is not None
        return self.trial_config
