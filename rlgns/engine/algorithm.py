"""RLlib's Algorithm: one game's training, one rollout and one update an iteration."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from pathlib import Path
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.tune.execution.placement_groups import PlacementGroupFactory

from rlgns.config.calibrations import run_calibrations
from rlgns.config.load import to_dict
from rlgns.config.schema import Config
from rlgns.critical.adaptive import TargetBatch, next_envs, target_batch
from rlgns.critical.predicted import calibrated, exchange_rate
from rlgns.engine.learner_group import AtariLearnerGroup
from rlgns.engine.progress import Timing, TrainingProgress
from rlgns.engine.rllib_config import AtariPPOConfig
from rlgns.engine.rows import make_row
from rlgns.engine.run_settings import TrialSpec
from rlgns.engine.runner_group import AtariRunnerGroup
from rlgns.errors import FaultError
from rlgns.noise.in_row import now_in
from rlgns.storage import checkpoint
from rlgns.storage.run_folder import RunFolder


class AtariPPO(Algorithm):
    """PPO (or A2C) with the noise scale measured on the way.

    The run's folder holds everything: `setup` resumes from its newest checkpoint and each `step` appends its row to
    metrics.jsonl. A trial that Tune restarts after a failure needs nothing else.
    """

    config: AtariPPOConfig
    learner_group: LearnerGroup
    env_runner_group: EnvRunnerGroup
    metrics: MetricsLogger

    @classmethod
    def get_default_config(cls) -> AtariPPOConfig:
        """Returns an empty configuration; `configured` makes a useful one."""
        return AtariPPOConfig(cls)

    @classmethod
    def configured(cls, run: Config, trial: TrialSpec) -> AtariPPOConfig:
        """Returns the configuration of one game's training."""
        return cls.get_default_config().update_from_dict({"run_config": run, "trial_config": trial})

    @classmethod
    def default_resource_request(cls, config: Any) -> PlacementGroupFactory:
        """Returns what Tune reserves for a trial: RLlib's bundles. Where the driver's is empty, a learner's comes next.

        RLlib puts runner n into bundle n, because bundle 0 is the driver's. But Tune drops an empty bundle. The last
        runner would then take part of a learner's bundle, and the learner would wait forever.
        """
        asked = super().default_resource_request(config)
        assert isinstance(asked, PlacementGroupFactory)
        if not asked.head_bundle_is_empty:
            return asked
        *others, learner = asked.bundles
        return PlacementGroupFactory([{}, learner, *others], strategy=asked.strategy)

    def setup(self, config: Any) -> None:
        """Builds runners and learners, and restores the newest checkpoint."""
        super().setup(config)
        self._run: Config = self.config.run
        self._folder = RunFolder(self.config.trial.folder)
        self._lock = self._folder.lock()
        self._folder.drop_torn_line()  # left by a process that was killed while it wrote
        newest = self._folder.last_row() or {}
        self._logged = int(newest.get("iteration", 0))
        self._progress = TrainingProgress(num_envs=self._run.env.num_envs)
        self._row: dict[str, Any] = newest
        self._whole = True  # False during an iteration: its state must not be saved
        self._saved_iteration = 0
        self._learners = AtariLearnerGroup(self.learner_group)
        if not self.config.num_env_runners and self.learner_group.is_local:
            learner = self._learners.local
            self.env_runner.share(learner.network, learner.team)
        self._runners = AtariRunnerGroup(
            self.env_runner_group,
            runners=self.config.num_env_runners,
            learners_are_here=self.learner_group.is_local,
            patience_s=self._run.engine.sample_timeout_s,
        )
        notices: list[str] = []
        state = checkpoint.load_newest(self._folder.checkpoints_path, notices.append)
        self._notice = "; ".join(notices)
        if state is not None:
            self._load(state)
        # Iterations that a kill lost took their time nevertheless.
        seconds = max(self._progress.seconds, newest.get("seconds", 0.0))
        self._progress = dataclasses.replace(self._progress, seconds=seconds)
        self._saved_at = time.monotonic()

    def training_step(self) -> None:
        """Plays one rollout with the present weights, updates from it, and makes the row of metrics.

        With `engine.async_lag` 1 the runners play the next rollout with the same weights while the learners learn from
        this one. The first rollout after a start has no lag.
        """
        began = time.perf_counter()
        self._whole = False
        before = self._progress
        run = self._run.at(before.num_envs)
        played = self._runners.play(before.iteration, self._learners.weights, num_envs=before.num_envs)
        if self._run.engine.async_lag and not self._is_last:
            self._runners.play_ahead(
                before.iteration + 1, before.iteration, self._learners.weights, num_envs=before.num_envs
            )
        sample_s = time.perf_counter() - began
        outcome = self._learners.update(
            played,
            timesteps={
                "iteration": before.iteration,
                "observations": before.observations,
                "version": before.iteration,
                "lag": self._run.engine.async_lag,
                "sample_s": sample_s,
                "num_envs": before.num_envs,
            },
        )
        row = outcome["row"]
        rate, target = self._target(row)
        progress = before.after(
            observations=run.rollout_observations,
            optimizer_steps=row["optimizer_steps"],
            scores=[episode.score for episode in outcome["episodes"]],
            num_envs=self._next_envs(target, row["learning_rate"]),
        )
        timing = Timing(
            iteration_s=time.perf_counter() - began,
            sample_s=sample_s,
            learn_s=outcome["learn_s"],
            measure_s=outcome["measure_s"],
        )
        self._progress = dataclasses.replace(progress, seconds=before.seconds + timing.iteration_s)
        self._messages = outcome["messages"]
        self._row = make_row(
            run,
            game=self.config.trial.game,
            batch_mode=self._run.agent.batch,
            target_batch=target.best,
            exchange_rate=rate,
            progress=self._progress,
            timing=timing,
            learner=row,
        )
        self._whole = True
        self.metrics.log_value(
            (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), run.rollout_observations, reduce="lifetime_sum"
        )

    def _target(self, row: dict[str, Any]) -> tuple[float, TargetBatch]:
        """Returns r and the batch that an adaptive run aims at by the noise scale now; NaN where the batch is fixed."""
        if self._run.agent.batch != "adaptive":
            return math.nan, TargetBatch()
        calibrations = run_calibrations(algorithm=self._run.agent.algorithm, epochs=self._run.agent.epochs)
        rate = self._run.adaptive.exchange_rate or exchange_rate(row, calibrations.average)
        now = now_in(row)
        ends = (calibrated(scale, calibrations.now) for scale in (now.low, now.value, now.high))
        return rate, target_batch(*ends, exchange_rate=rate)

    def _next_envs(self, target: TargetBatch, learning_rate: float) -> int:
        """Returns how many environments the iteration after this one uses."""
        now = self._progress
        if self._run.agent.batch != "adaptive":
            return now.num_envs
        batch, first = self._run.at(now.num_envs).batch_observations, self._run.batch_observations
        return next_envs(
            target,
            num_envs=now.num_envs,
            batch_observations=batch,
            tiers=self._run.env_tiers,
            held_iterations=now.held_iterations + 1,
            rate_share=learning_rate / (self._run.agent.learning_rate * math.sqrt(batch / first)),
        )

    def step(self) -> dict[str, Any]:
        """Runs one iteration (RLlib's `step` calls `training_step`), logs it, and saves a checkpoint where one is due.

        Returns:
            RLlib's result and: row, the row of metrics; replayed, whether this iteration was logged before (the run was
            killed after its last checkpoint); fault, what could not be written, or None; messages, lines for the user;
            notice, which torn checkpoint was passed over when the trial began, in its first result, else empty.
        """
        notice, self._notice = self._notice, ""
        if self._finished:  # the driver was killed after the last checkpoint and before it heard of the end
            return {"row": self._row, "replayed": True, "fault": None, "messages": [], "notice": notice, "done": True}
        result = super().step()
        result["row"], result["messages"], result["notice"] = self._row, self._messages, notice
        result["replayed"] = self._progress.iteration <= self._logged
        result["fault"] = None
        done = self._finished
        try:
            self._check_finite()
            if not result["replayed"]:
                self._folder.append(self._row)
                self._logged = self._progress.iteration
            if done or time.monotonic() - self._saved_at >= self._run.engine.checkpoint_every_s:
                self.save_now()
        except FaultError as fault:
            result["fault"] = str(fault)
            self._whole = False  # cleanup must not retry what just failed
        result["done"] = done or result["fault"] is not None
        return result

    def get_auto_filled_metrics(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Returns what Tune adds to a result, without the configuration: it is the same each time and most of it."""
        return super().get_auto_filled_metrics(*args, **options) | {"config": {}}

    @property
    def _finished(self) -> bool:
        return self._progress.observations >= self._run.run.observations

    def _check_finite(self) -> None:
        """Raises FaultError where a gradient was NaN or infinite: the weights are worthless and must not be saved."""
        if self._row["grad_norm"] is None:
            raise FaultError(
                f"iteration {self._progress.iteration}: a gradient is not finite, so training has diverged and nothing "
                f"of this iteration was kept; try a smaller agent.learning_rate than {self._run.agent.learning_rate:g}"
            )

    def save_now(self) -> None:
        """Writes a checkpoint of this iteration unless one exists. Raises FaultError."""
        if self._saved_iteration == self._progress.iteration:
            return
        state = self._state()
        checkpoint.save(
            self._folder.checkpoints_path, self._progress.iteration, state, kept=self._run.engine.checkpoints_kept
        )
        self._saved_iteration = self._progress.iteration
        self._saved_at = time.monotonic()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Writes the same checkpoint to a folder that RLlib or Tune chooses."""
        checkpoint.save(Path(checkpoint_dir), self._progress.iteration, self._state(), kept=1)

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        """Restores what `save_checkpoint` wrote."""
        state = checkpoint.load_newest(Path(checkpoint_dir))
        assert state is not None, f"no checkpoint in {checkpoint_dir}"
        self._load(state)

    def cleanup(self) -> None:
        """Saves the last iteration, then stops runners and learners. Tune calls it whenever a trial stops."""
        try:
            if getattr(self, "_whole", False):
                self.save_now()
        finally:
            if hasattr(self, "_runners"):
                self._runners.stop()
            super().cleanup()
            if hasattr(self, "_lock"):
                os.close(self._lock)

    def restore_env_runners(self, env_runner_group: Any) -> list[int]:
        """RLlib's hook for bringing restarted runners back."""
        return self._runners.restore() if env_runner_group else []

    @property
    def _is_last(self) -> bool:
        """Whether the next iteration is the run's last."""
        return self._progress.observations + self._run.rollout_observations >= self._run.run.observations

    def _state(self) -> dict[str, Any]:
        return {
            "config": to_dict(self._run),
            "game": self.config.trial.game,
            "num_actions": self.config.trial.num_actions,
            **self._progress.as_dict(),
            "learner": self._learners.training_state(),
        }

    def _load(self, state: dict[str, Any]) -> None:
        state = checkpoint.migrate(state)
        self._progress = TrainingProgress.from_dict(state)
        self._saved_iteration = self._progress.iteration
        self._learners.load_training_state(state["learner"])
        # Every environment starts a new episode: emulators cannot be saved.
        self._iteration = self._progress.iteration
