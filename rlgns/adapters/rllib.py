"""The noise scale of RLlib's PPO as it comes: a learner.

from rlgns.adapters.rllib import NoiseScalePPOLearner
config = config.learners(learner_class=NoiseScalePPOLearner)
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

try:
    import tree
    from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
    from ray.rllib.core import DEFAULT_MODULE_ID
    from ray.rllib.core.columns import Columns
    from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
    from ray.rllib.policy.sample_batch import SampleBatch
    from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
except ImportError as error:
    raise ImportError("rlgns.adapters.rllib needs RLlib 2.60: pip install 'rlgns[rllib]'") from error

from rlgns.adapters.groups import Indices, split
from rlgns.adapters.measurement import RolloutNoiseScale
from rlgns.adapters.pace import Pace

SETTINGS = {"noise_scale_overhead": 0.01, "noise_scale_groups": 8, "noise_scale_level": 0.95}
"""Of `learner_config_dict`, with their defaults: share of the time, most groups of episodes, confidence."""

MOST_OBSERVATIONS = 2048

STATE = "noise_scale"


class NoiseScalePPOLearner(PPOTorchLearner):
    """Measures the noise scale of each module at the parameters that played, and logs it to RLlib's metrics.

    Before the first step on a train batch, the gradient of the learner's own loss is computed for each group of whole
    episodes: one more forward and backward pass over the batch, as often as SETTINGS allow. Training is bit for bit the
    same. Entries: `learners/MODULE/noise/...` and `critical_batch/...` (docs/hosts/rllib.md).

    Several agents of one game may depend on each other, so the episodes of one game are one unit, whatever module their
    agents have. Several learners measure the same batch together, each its part, when the first one's budget allows.
    """

    def build(self) -> None:
        """Checks the configuration. Raises ValueError where it cannot be measured."""
        super().build()
        recurrent = [name for name in self.module.keys() if self.module[name].unwrapped().is_stateful()]  # noqa: SIM118
        if recurrent:
            raise ValueError(
                f"module {recurrent[0]!r} is recurrent, and NoiseScalePPOLearner measures feed-forward modules: "
                "leave learner_class as it was"
            )
        chosen = {**SETTINGS, **{k: v for k, v in self.config.learner_config_dict.items() if k in SETTINGS}}
        self._groups, self._level = int(chosen["noise_scale_groups"]), chosen["noise_scale_level"]
        self._pace = Pace(chosen["noise_scale_overhead"])
        self._measured: dict[str, RolloutNoiseScale] = {}
        self._learners = max(1, self.config.num_learners)

    def noise_scale(self, module_id: str) -> RolloutNoiseScale:
        """Returns what was measured of a module."""
        if module_id not in self._measured:
            module: Any = self.module[module_id].unwrapped()
            self._measured[module_id] = RolloutNoiseScale(
                module,
                groups=self._groups,
                algorithm="ppo",
                epochs=self.config.num_epochs,
                level=self._level,
                process_group=dist.group.WORLD if self._learners > 1 else None,
            )
        return self._measured[module_id]

    def _make_batch_if_necessary(self, training_data: Any) -> Any:
        """Returns the train batch as RLlib does, after measuring it where that is due."""
        episodes = training_data.episodes
        names = None if episodes is None else _chunks(episodes)  # RLlib renames episodes
        batch = super()._make_batch_if_necessary(training_data)
        due = names is not None and self._first(self._pace.due())
        self._pace.end(functools.partial(self._measure, batch, names) if due and names is not None else None)
        for module_id, measured in self._measured.items():
            for name, value in measured.entries().items():
                if not isinstance(value, str):
                    self.metrics.log_value((module_id, name), value, window=1)
            fraction = self._pace.overhead_fraction
            self.metrics.log_value((module_id, "noise/overhead_fraction"), fraction, window=1)
        return batch

    def _first(self, flag: bool) -> bool:
        """Returns the first learner's flag: all must measure the same batches, and their clocks differ."""
        if self._learners == 1:
            return flag
        told = torch.tensor(int(flag), device=self._device)
        dist.broadcast(told, src=0)
        return bool(told)

    def _measure(self, batch: Any, names: Mapping[str, Sequence[str]]) -> None:
        logger, self.metrics = self.metrics, MetricsLogger()  # the loss logs
        try:
            for module_id in sorted(self.module.keys()):  # the same order in each learner
                if self.should_module_be_updated(module_id, batch):
                    data = batch.policy_batches.get(module_id)
                    self._measure_module(module_id, data, names.get(module_id, ()))
        finally:
            self.metrics = logger

    def _measure_module(self, module_id: str, data: Any, names: Sequence[str]) -> None:
        config: Any = self.config.get_config_for_module(module_id)
        valid = np.zeros(0, bool) if data is None else data[Columns.LOSS_MASK].cpu().numpy().astype(bool)
        module = self.module[module_id].unwrapped()

        def loss(indices: Indices) -> Any:
            where = torch.from_numpy(indices).to(data[Columns.LOSS_MASK].device)
            part = SampleBatch(tree.map_structure(lambda column: column[where], dict(data)))
            outputs = module.forward_train(part)
            found: Any = self.compute_loss_for_module(module_id=module_id, config=config, batch=part, fwd_out=outputs)
            return found

        units = _units(valid, names)
        order = np.random.default_rng(self._weights_seq_no).permutation(len(units))  # runners send the longest last
        share = valid.mean() if len(valid) else 0.0
        batch = min(self.config.minibatch_size or len(valid), len(valid)) * share
        self.noise_scale(module_id).measure(
            split([units[unit] for unit in order], self._groups),
            loss,
            chunk_observations=max(round(batch), MOST_OBSERVATIONS),
            batch_observations=self._of_all(float(batch)),
            learning_rate=self.get_optimizer(module_id).param_groups[0]["lr"],
            observations=self._observations,
        )

    def _of_all(self, observations: float) -> float:
        """Returns the sum over learners, whose mean gradient takes a step."""
        if self._learners == 1:
            return observations
        total = torch.tensor(observations, dtype=torch.float64, device=self._device)
        dist.all_reduce(total)
        return float(total)

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        """Notes how far training is, then does what RLlib does."""
        self._observations = int(timesteps.get("num_env_steps_sampled_lifetime", 0))
        super().before_gradient_based_update(timesteps=timesteps)

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Returns RLlib's state and what was measured."""
        state: dict[str, Any] = super().get_state(*args, **kwargs)
        if self._measured:
            modules = {module_id: measured.state_dict() for module_id, measured in self._measured.items()}
            state[STATE] = {"pace": self._pace.state_dict(), "modules": modules}
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned; a state without measurements leaves them as they are."""
        super().set_state(state)
        if STATE in state:
            self._pace.load_state_dict(state[STATE]["pace"])
            for module_id, measured in state[STATE]["modules"].items():
                self.noise_scale(module_id).load_state_dict(measured)


def _chunks(episodes: Sequence[Any]) -> dict[str, list[str]]:
    """Returns, by module, the game of each chunk of an episode, in the order of the train batch's rows."""
    found: dict[str, list[str]] = {}
    for episode in episodes:
        of_agents = episode.agent_episodes.values() if isinstance(episode, MultiAgentEpisode) else [episode]
        for each in of_agents:
            module_id = str(each.module_id) if isinstance(episode, MultiAgentEpisode) else DEFAULT_MODULE_ID
            found.setdefault(module_id, []).append(str(episode.id_))
    return found


def _units(valid: Any, names: Sequence[str]) -> list[Indices]:
    """Rows of each independent game: a chunk ends with a row that is not valid; chunks of one name are one game.

    Raises:
        ValueError: There are not as many chunks as names.
    """
    ends = np.flatnonzero(~valid)
    if len(ends) != len(names) or (len(ends) and ends[-1] != len(valid) - 1):
        raise ValueError(
            f"the train batch has {len(ends)} episodes and the rollout {len(names)}: NoiseScalePPOLearner needs "
            "RLlib's default learner connectors"
        )
    rows: dict[str, list[Indices]] = {}
    for name, begin, end in zip(names, [0, *(ends + 1)][:-1] if len(ends) else [], ends, strict=True):
        rows.setdefault(name, []).append(np.arange(begin, end))
    return [np.concatenate(chunks) for chunks in rows.values()]
