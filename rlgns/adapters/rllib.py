"""The noise scale of RLlib's PPO, APPO and IMPALA as they come: a learner for each.

from rlgns.adapters.rllib import NoiseScalePPOLearner
config = config.learners(learner_class=NoiseScalePPOLearner)
"""

from __future__ import annotations

from typing import Any

import torch

try:
    import tree
    from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
    from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner
    from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
    from ray.rllib.core.columns import Columns
    from ray.rllib.policy.sample_batch import SampleBatch
except ImportError as error:
    raise ImportError("rlgns.adapters.rllib needs RLlib 2.60: pip install 'rlgns[rllib]'") from error

from rlgns.adapters.rllib_learner import NoiseScaleLearner, valid_rows
from rlgns.adapters.rllib_units import games_of_chunks, rows_of_games

MOST_OBSERVATIONS = 2048

GAMES = "noise_scale_games"


class NoiseScalePPOLearner(NoiseScaleLearner, PPOTorchLearner):
    """Measures the noise scale of each module at the parameters that played, and logs it to RLlib's metrics.

    Before the first step on a train batch, the gradient of the learner's own loss is computed for each group of whole
    episodes: one more forward and backward pass over the batch, as often as SETTINGS allow. Training is bit for bit the
    same. Entries: `learners/MODULE/noise/...` and `critical_batch/...` (docs/hosts/rllib.md).

    Several agents of one game may depend on each other, so the episodes of one game are one unit, whatever module their
    agents have. Several learners measure the same batch together, each its part, when the first one's budget allows.
    """

    def _make_batch_if_necessary(self, training_data: Any) -> Any:
        """Returns the train batch as RLlib does, after measuring it where that is due."""
        episodes = training_data.episodes
        games = None if episodes is None else games_of_chunks(episodes)  # RLlib renames episodes
        batch = super()._make_batch_if_necessary(training_data)
        self._measure_if_due(batch, games)
        return batch

    def _part(self, data: Any, where: torch.Tensor) -> Any:
        return SampleBatch(tree.map_structure(lambda column: column[where], dict(data)))

    def _rows_per_pass(self, batch: float, rows: int) -> int:
        return max(round(batch), MOST_OBSERVATIONS)


class _AsynchronousLearner(NoiseScaleLearner):
    """Measures V-trace's loss at the parameters from which the first step on a train batch starts.

    RLlib makes a batch on one thread and learns from it on another, which alone changes parameters and gradients: it
    also measures. The games of a batch go there with it, in `timesteps`, the one thing that RLlib queues with a batch.
    They are taken out at the first step: APPO's buffer draws a batch again, when parameters already depend on it.

    V-trace takes each row's target from the rows after it. So the loss of a group is that of the whole batch with only
    the group's rows in the loss mask: the groups' losses add up to the batch's exactly, at a pass over the batch each.
    """

    _restores_random = False  # other threads draw meanwhile

    def build(self) -> None:
        """Checks the configuration. Raises ValueError where it cannot be measured."""
        name = type(self).__name__
        if self.config.num_aggregator_actors_per_learner:
            raise ValueError(
                f"{name} needs the episodes of a batch, got num_aggregator_actors_per_learner="
                f"{self.config.num_aggregator_actors_per_learner}: set it to 0"
            )
        if self.config.num_learners > 1:
            raise ValueError(
                f"{name} measures one learner, since several learn from different batches at a time, got "
                f"num_learners={self.config.num_learners}: set it to 0 or 1"
            )
        super().build()

    def update(self, training_data: Any, *, timesteps: dict[str, Any], **more: Any) -> Any:  # type: ignore[override]
        """Makes a batch and queues it for the thread that learns, as RLlib does."""
        self._making = timesteps = dict(timesteps)
        return super().update(training_data, timesteps=timesteps, **more)

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Notes, on the thread that learns, the games of the batch."""
        self._learning = timesteps
        super().before_gradient_based_update(timesteps=timesteps)

    def _make_batch_if_necessary(self, training_data: Any) -> Any:
        """Returns the train batch as RLlib does; on the thread that learns after measuring it where that is due."""
        if training_data.episodes is None:
            batch = super()._make_batch_if_necessary(training_data)
            self._measure_if_due(batch, self._learning.pop(GAMES, None))
            return batch
        games = games_of_chunks(training_data.episodes)
        batch = super()._make_batch_if_necessary(training_data)
        for module_id, data in batch.policy_batches.items():  # an error on the other thread would go unseen
            rows_of_games(valid_rows(data), games.get(module_id, ()), type(self).__name__)
        self._making[GAMES] = games
        return batch

    def _part(self, data: Any, where: torch.Tensor) -> Any:
        mask = torch.zeros_like(data[Columns.LOSS_MASK])
        mask[where] = True
        return SampleBatch({**data, Columns.LOSS_MASK: mask})

    def _rows_per_pass(self, batch: float, rows: int) -> int:
        return rows  # each pass is over the whole batch


class NoiseScaleIMPALALearner(_AsynchronousLearner, IMPALATorchLearner):  # type: ignore[misc]  # as RLlib's own
    """Measures the noise scale of each module under IMPALA; see `_AsynchronousLearner` and docs/hosts/rllib.md."""

    _calibration = "a2c"


class NoiseScaleAPPOLearner(_AsynchronousLearner, APPOTorchLearner):  # type: ignore[misc]  # as RLlib's own
    """Measures the noise scale of each module under APPO; see `_AsynchronousLearner` and docs/hosts/rllib.md."""

    def _passes(self) -> int:
        config: Any = self.config
        return int(
            config.num_epochs * (config.circular_buffer_iterations_per_batch if config.use_circular_buffer else 1)
        )
