"""The noise scale of Stable-Baselines3's PPO and A2C: a callback.

from rlgns.adapters.sb3 import NoiseScaleCallback
model.learn(1_000_000, callback=NoiseScaleCallback())
"""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, final

try:
    import stable_baselines3
    from stable_baselines3 import A2C, PPO
    from stable_baselines3.common.callbacks import BaseCallback
except ImportError as error:
    raise ImportError("rlgns.adapters.sb3 needs Stable-Baselines3: pip install 'rlgns[sb3]'") from error

from rlgns.adapters.groups import split
from rlgns.adapters.measurement import RolloutNoiseScale
from rlgns.adapters.pace import Pace
from rlgns.adapters.sb3_loss import chunk_observations, environments, rollout_loss
from rlgns.critical.verdict import Verdict
from rlgns.noise.tracker import NoiseScaleEstimate


@final
class NoiseScaleCallback(BaseCallback):
    """Measures the noise scale of PPO or A2C at the parameters that played, and writes it to SB3's logger.

    At the end of a rollout, before training, the gradient of the host's own loss is computed for each group of whole
    environments: one more forward and backward pass over the rollout, as often as `overhead` allows. Training is bit
    for bit the same with it. Networks are measured in the mode in which they play (dropout off, batch norm's running
    statistics). Entries: `noise/*` and `critical_batch/*`, with the meaning that docs/hosts/stable-baselines3.md gives.
    """

    def __init__(
        self,
        *,
        overhead: float = 0.01,
        groups: int = 8,
        level: float = 0.95,
        verbose: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Sets what is measured.

        Args:
            overhead: Largest share of the time for measuring, from 0 (never) to below 1.
            groups: Most groups of whole environments, at least 2.
            level: Confidence of the intervals, between 0 and 1.
            verbose: 1 prints the verdict at the end of training, 0 nothing.
            clock: Returns the seconds that the budget is reckoned in.

        Raises:
            ValueError: A value that is not allowed.
        """
        super().__init__(verbose)
        if groups < 2:
            raise ValueError(f"groups must be at least 2, got {groups}")
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {level}")
        self._groups, self._level = groups, level
        self._pace = Pace(overhead, clock)
        self._measurement: RolloutNoiseScale | None = None
        self._loaded: Mapping[str, Any] | None = None
        self._entries: dict[str, Any] = {}
        self._warned = False

    def estimate(self) -> NoiseScaleEstimate:
        """Returns the noise scale at the parameters that played, as of now. Raises RuntimeError before training."""
        return self._started().estimate()

    def verdict(self) -> Verdict:
        """Returns what is known of the critical batch. Raises RuntimeError before training."""
        return self._started().verdict()

    def state_dict(self) -> dict[str, Any]:
        """Returns everything measured, plain numbers, to be saved beside the model. Raises RuntimeError untrained."""
        return {"pace": self._pace.state_dict(), "measurement": self._started().state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned, before training."""
        self._pace.load_state_dict(state["pace"])
        self._loaded = state["measurement"]

    def _started(self) -> RolloutNoiseScale:
        if self._measurement is None:
            raise RuntimeError("NoiseScaleCallback has measured nothing yet: give it to model.learn(callback=...)")
        return self._measurement

    def _init_callback(self) -> None:
        """Checks the model before it plays. Raises ValueError where it cannot be measured."""
        self._ppo = _is_ppo(self.model)
        if self._measurement is None:
            self._measurement = RolloutNoiseScale(
                self.model.policy,
                groups=self._groups,
                algorithm="ppo" if self._ppo else "a2c",
                epochs=self.model.n_epochs if self._ppo else 1,
                level=self._level,
            )
        if self._loaded is not None:
            self._measurement.load_state_dict(self._loaded)
            self._loaded, self._entries = None, self._measurement.entries()

    def _on_training_start(self) -> None:
        self._pace.start()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        due = self._pace.due()
        self._pace.end(functools.partial(self._measure, self._started()) if due else None)
        for name, value in self._entries.items():
            self.logger.record(name, value, exclude="tensorboard" if isinstance(value, str) else None)
        if self._entries:
            self.logger.record("noise/overhead_fraction", self._pace.overhead_fraction)

    def _measure(self, measurement: RolloutNoiseScale) -> None:
        model = self.model
        rollout = model.n_envs * model.n_steps
        batch = min(model.batch_size, rollout) if self._ppo else rollout
        skipped = measurement.estimate().skipped
        measurement.measure(
            split(environments(model), self._groups),
            rollout_loss(model, self._ppo),
            chunk_observations=chunk_observations(model, batch),
            batch_observations=batch,
            learning_rate=model.policy.optimizer.param_groups[0]["lr"],
            observations=model.num_timesteps,
            num_envs=0 if self._ppo else model.n_envs,
        )
        self._entries = measurement.entries()
        if measurement.estimate().skipped > skipped and not self._warned:
            self._warned = True
            warnings.warn(
                "the gradient of a rollout is NaN or infinite and is not counted; look at rewards and learning rate",
                RuntimeWarning,
                stacklevel=2,
            )

    def _on_training_end(self) -> None:
        if self.verbose:
            print(self.verdict().sentence())  # noqa: T201


def _is_ppo(model: Any) -> bool:
    """Whether it is PPO, not A2C. Raises ValueError where it is neither or cannot be measured."""
    train = getattr(type(model), "train", None)
    if train not in (PPO.train, A2C.train):
        raise ValueError(
            f"NoiseScaleCallback measures PPO and A2C of Stable-Baselines3, whose loss it knows; "
            f"{type(model).__name__} trains otherwise: remove the callback, or use rlgns.noise.NoiseScaleMonitor"
        )
    if model.n_envs < 2:
        raise ValueError(
            f"NoiseScaleCallback needs at least 2 environments, got {model.n_envs}: "
            "use make_vec_env(env, n_envs=8), or another number from 2"
        )
    missing = [name for name in ("_get_samples", "swap_and_flatten") if not hasattr(model.rollout_buffer, name)]
    if missing:
        raise ValueError(
            f"{type(model.rollout_buffer).__name__} of Stable-Baselines3 {stable_baselines3.__version__} has no "
            f"{missing[0]}: install 'stable-baselines3>=2.3,<3'"
        )
    return bool(train is PPO.train)
