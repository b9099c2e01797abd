"""What the learners of rlgns.adapters.rllib share: the groups of a train batch, their losses, state and entries."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from rlgns.adapters.groups import Indices, split
from rlgns.adapters.measurement import RolloutNoiseScale
from rlgns.adapters.pace import Pace
from rlgns.adapters.rllib_units import rows_of_games

SETTINGS = {"noise_scale_overhead": 0.01, "noise_scale_groups": 8, "noise_scale_level": 0.95}
"""Of `learner_config_dict`, with their defaults: share of the time, most groups of episodes, confidence."""

STATE = "noise_scale"


class NoiseScaleLearner(TorchLearner):
    """Measures the noise scale of each module before a train batch's first step, and logs it to RLlib's metrics.

    The gradient of the learner's own loss is computed for each group of whole games, as often as SETTINGS allow. A
    subclass says which batches are measured, and what the loss of some of a batch's rows is.
    """

    _calibration = "ppo"
    _restores_random = True

    def build(self) -> None:
        """Checks the configuration. Raises ValueError where it cannot be measured."""
        own: Any = self.config.get_default_learner_class()
        name = type(self).__name__
        if not isinstance(self, own):
            raise ValueError(
                f"{name} does not learn as {type(self.config).__name__} asks, whose learner is {own.__name__}: "
                "there are NoiseScalePPOLearner, NoiseScaleAPPOLearner and NoiseScaleIMPALALearner"
            )
        chosen = {**SETTINGS, **{k: v for k, v in self.config.learner_config_dict.items() if k in SETTINGS}}
        self._groups, self._level = int(chosen["noise_scale_groups"]), chosen["noise_scale_level"]
        self._pace = Pace(chosen["noise_scale_overhead"])
        self._measured: dict[str, RolloutNoiseScale] = {}
        self._entries: dict[str, dict[str, Any]] = {}  # by module, since the newest measurement
        self._measuring = threading.RLock()  # one thread may measure while another saves
        self._learners = max(1, self.config.num_learners)
        super().build()
        recurrent = [name for name in self.module.keys() if self.module[name].unwrapped().is_stateful()]  # noqa: SIM118
        if recurrent:
            self.shutdown()
            raise ValueError(
                f"module {recurrent[0]!r} is recurrent, and {name} measures feed-forward modules: "
                "leave learner_class as it was"
            )

    def noise_scale(self, module_id: str) -> RolloutNoiseScale:
        """Returns what was measured of a module."""
        if module_id not in self._measured:
            module: Any = self.module[module_id].unwrapped()
            self._measured[module_id] = RolloutNoiseScale(
                module,
                groups=self._groups,
                algorithm=self._calibration,
                epochs=self._passes(),
                level=self._level,
                process_group=dist.group.WORLD if self._learners > 1 else None,
                restores_random=self._restores_random,
            )
        return self._measured[module_id]

    def _passes(self) -> int:
        """Passes of training over a batch."""
        return int(self.config.num_epochs)

    def _measure_if_due(self, batch: Any, games: Mapping[str, Sequence[str]] | None) -> None:
        """Measures a train batch where that is due, and logs what is known.

        Args:
            batch: Before its first step.
            games: Of `games_of_chunks`; None: this batch cannot be measured.
        """
        due = games is not None and self._first(self._pace.due())
        self._pace.end(functools.partial(self._measure, batch, games) if due and games is not None else None)
        for module_id, entries in self._entries.items():
            for name, value in entries.items():
                self.metrics.log_value((module_id, name), value, window=1)
            fraction = self._pace.overhead_fraction
            self.metrics.log_value((module_id, "noise/overhead_fraction"), fraction, window=1)

    def _first(self, flag: bool) -> bool:
        """Returns the first learner's flag: all must measure the same batches, and their clocks differ."""
        if self._learners == 1:
            return flag
        told = torch.tensor(int(flag), device=self._device)
        dist.broadcast(told, src=0)
        return bool(told)

    def _measure(self, batch: Any, games: Mapping[str, Sequence[str]]) -> None:
        with self._measuring:
            for module_id in sorted(self.module.keys()):  # the same order in each learner
                if self.should_module_be_updated(module_id, batch):
                    data = batch.policy_batches.get(module_id)
                    self._measure_module(module_id, data, games.get(module_id, ()))
            self._collect()

    def _collect(self) -> None:
        """Notes the entries that loggers get."""
        self._entries = {
            module_id: {name: value for name, value in measured.entries().items() if not isinstance(value, str)}
            for module_id, measured in self._measured.items()
        }

    def _measure_module(self, module_id: str, data: Any, games: Sequence[str]) -> None:
        valid = valid_rows(data)
        units = rows_of_games(valid, games, type(self).__name__)
        order = np.random.default_rng(self._weights_seq_no).permutation(len(units))  # runners send the longest last
        batch = min(self.config.minibatch_size or len(valid), len(valid)) * (valid.mean() if len(valid) else 0.0)
        self.noise_scale(module_id).measure(
            split([units[unit] for unit in order], self._groups),
            self._loss_of_rows(module_id, data),
            chunk_observations=self._rows_per_pass(batch, len(valid)),
            batch_observations=self._of_all(float(batch)),
            learning_rate=self.get_optimizer(module_id).param_groups[0]["lr"],
            observations=self._observations,
        )

    def _loss_of_rows(self, module_id: str, data: Any) -> Any:
        """Returns the function from rows of a module's batch to the mean loss over them."""
        config: Any = self.config.get_config_for_module(module_id)
        module = self.module[module_id].unwrapped()
        quiet = copy.copy(self)  # the loss logs
        quiet.metrics = MetricsLogger()

        def loss(indices: Indices) -> Any:
            part = self._part(data, torch.from_numpy(indices).to(data[Columns.LOSS_MASK].device))
            outputs = module.forward_train(part)
            return quiet.compute_loss_for_module(module_id=module_id, config=config, batch=part, fwd_out=outputs)

        return loss

    def _part(self, data: Any, where: torch.Tensor) -> Any:
        """Returns the batch whose loss is that of these rows."""
        raise NotImplementedError

    def _rows_per_pass(self, batch: float, rows: int) -> int:
        """Returns the most rows of one forward pass; `batch` of one optimizer step, `rows` of the train batch."""
        raise NotImplementedError

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

    def get_state(self, components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Returns RLlib's state and, where all of it is asked for, what was measured."""
        state: dict[str, Any] = super().get_state(components, **kwargs)
        if components is None and self._measured:
            with self._measuring:
                modules = {module_id: measured.state_dict() for module_id, measured in self._measured.items()}
                state[STATE] = {"pace": self._pace.state_dict(), "modules": modules}
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned; a state without measurements leaves them as they are."""
        super().set_state(state)
        if STATE in state:
            with self._measuring:
                self._pace.load_state_dict(state[STATE]["pace"])
                for module_id, measured in state[STATE]["modules"].items():
                    self.noise_scale(module_id).load_state_dict(measured)
                self._collect()


def valid_rows(data: Any) -> Any:
    """Returns the loss mask of a module's batch, [rows] bool; empty without a batch."""
    return np.zeros(0, bool) if data is None else data[Columns.LOSS_MASK].cpu().numpy().astype(bool)
