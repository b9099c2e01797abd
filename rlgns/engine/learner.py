"""RLlib's Learner: one call, one iteration of PPO on opaque rollouts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner

from rlgns.agents.compute.data_parallel import DataParallel, checksum
from rlgns.agents.compute.precision import choose_device, choose_precision, prepare_process
from rlgns.agents.compute.team import Team
from rlgns.agents.schedule import learning_rate
from rlgns.agents.update import Updater
from rlgns.config import random_streams
from rlgns.engine.collect import Played
from rlgns.engine.loopback import keep_on_loopback
from rlgns.engine.loss_splits import LossSplits
from rlgns.engine.module import AtariModule
from rlgns.engine.probe import Probe
from rlgns.engine.ride_along import RideAlong
from rlgns.engine.run_settings import RunSettings
from rlgns.engine.training_state import on_cpu

REFRESH_OBSERVATIONS = 4096
"""Where rollouts are short, smoothed noise scales, the run average and their intervals are computed once in so many
observations, but for the first so many: they take about a millisecond, and an iteration of `a2c-paper` is 80 ms."""

SHORT_ROLLOUT_OBSERVATIONS = 1024
"""Rollouts of fewer are short."""


class AtariLearner(TorchLearner):
    """Copies all rollouts of an iteration to its device once, and runs every optimizer step there.

    Replaces RLlib's update loop: no connectors, no episode objects, no per-minibatch metrics.
    """

    config: RunSettings

    def __init__(self, **settings: Any) -> None:
        """Takes RLlib's settings. Remote learners are not a group yet: RLlib joins them after this."""
        super().__init__(**settings)
        if self.config.num_learners:
            keep_on_loopback(ray.util.get_node_ip_address())

    def build(self) -> None:
        """Builds network, optimizer and measurement."""
        prepare_process(self.config.learner_threads)
        super().build()
        run = self.config.run
        device = choose_device(run.engine.device)
        module = self.module[DEFAULT_MODULE_ID].unwrapped()
        assert isinstance(module, AtariModule)
        self.network = module.network.to(device)
        self.precision = choose_precision(run.engine.precision, device)
        self.learners = DataParallel(
            self._learner_index,
            max(1, run.engine.learners),
            device=device,
            timeout_s=run.engine.learner_timeout_s,
        )
        with torch.no_grad():
            self.learners.take_first(list(self.network.parameters()))
        self.team = Team(self.config.learner_threads)
        team = self.team if device.type == "cpu" else None
        self._measure = RideAlong(run.noise, minibatches=run.agent.minibatches, add_up=self.learners.add_up)
        self._losses = LossSplits(
            run.noise, minibatches=run.agent.minibatches, epochs=run.agent.epochs, add_up=self.learners.add_up
        )
        self._probe = Probe(run, self.network)
        self._said: list[str] = []
        largest = run.at(run.env_tiers[-1])
        self._updater = Updater(
            self.network,
            run.agent,
            groups=largest.groups_per_batch,
            batch_observations=largest.batch_observations,
            precision=self.precision,
            on_products=self._measure.on_products if run.noise.enabled else None,
            on_losses=self._losses.on_losses,
            team=team,
            data_parallel=self.learners,
            cuda_graphs=run.engine.cuda_graphs == "auto",
            say=self._said.append,
        )

    def configure_optimizers(self) -> None:
        """Does nothing: the updater owns the optimizer."""

    def _make_modules_ddp_if_necessary(self) -> None:
        """Does nothing: DDP would average every backward pass, but group gradients must stay apart."""

    def compute_loss_for_module(self, **kwargs: Any) -> Any:
        """Not used: `update` replaces RLlib's update loop."""
        raise NotImplementedError("the loss is computed in rlgns.agents.batch_gradients")

    def update(  # type: ignore[override]
        self, *, training_data: Any, timesteps: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Runs one iteration.

        Args:
            training_data: `batch_refs` holds one `Played` (or a reference to one) per runner; all learners get all.
            timesteps: iteration; observations before this iteration; version of the present weights; lag, how many
                versions older the weights that played may be (default 0); sample_s, seconds that the learners waited
                for the rollouts; num_envs, environments in use (default: the configuration's).
            **kwargs: Passed by RLlib's LearnerGroup and ignored.

        Returns:
            row: entries of the metrics row; episodes: full games that ended; learn_s, measure_s: seconds;
            weights_checksum: equal on all learners, empty with a single one; messages: lines for the user.

        Raises:
            RuntimeError: A rollout was played with weights that are too old, or two with different weights.
        """
        began = time.perf_counter()
        run = self.config.run
        iteration, observations, version = (timesteps[key] for key in ("iteration", "observations", "version"))
        played = sorted(_solve(training_data.batch_refs), key=lambda part: part.worker_index)
        lag = _lag(played, version, most=timesteps.get("lag", 0))
        now = run.at(timesteps.get("num_envs", run.env.num_envs))
        rate = learning_rate(
            run.agent,
            observations=observations,
            total_observations=run.run.observations,
            batch_observations=now.batch_observations,
            base_batch_observations=run.batch_observations,
        )
        seed = (run.run.seed, iteration)
        shuffled = self._measure.split_shuffled(iteration)
        # Clocks differ between learners: the first learner's decides.
        by_loss, probed = (self.learners.first(part.due()) for part in (self._losses, self._probe))
        stats = self._updater.update(
            [rollout for part in played for rollout in part.rollouts],
            learning_rate=rate,
            seed=(*seed, random_streams.UPDATE),
            groups=now.groups_per_batch,
            split_shuffled=shuffled,
            step_by_loss=self._losses.step(first_is_shuffled=shuffled) if by_loss else None,
            before_steps=(lambda fresh: self._probe.measure(fresh, seed)) if probed else None,
        )
        self._measure.settle()
        self._losses.settle(self._measure.divisors, observations + now.rollout_observations)
        measure_s, probe_s = self._measure.measure_s, self._probe.seconds
        learn_s = time.perf_counter() - began
        seconds = timesteps["sample_s"] + learn_s
        self._losses.end_iteration(seconds=seconds, learn_s=learn_s - probe_s, measure_s=measure_s)
        self._probe.end_iteration(seconds=seconds, measure_s=measure_s + self._losses.per_iteration_s)
        measure_s += self._losses.seconds + probe_s
        row = {
            "policy_lag": lag,
            "learning_rate": rate,
            "optimizer_steps": stats.optimizer_steps,
            **stats.metrics,
            **self._measure.report(
                optimizer_steps=stats.optimizer_steps,
                batch_observations=now.batch_observations,
                learning_rate=rate,
                refresh=_refreshed(observations, observations + now.rollout_observations),
            ),
            **self._losses.report(),
            **self._probe.report(now.batch_observations),
        }
        messages, self._said[:] = list(self._said), []
        return {
            "row": row,
            "messages": messages,
            "episodes": [episode for part in played for episode in part.episodes],
            "learn_s": time.perf_counter() - began,
            "measure_s": measure_s,
            "weights_checksum": checksum(self.network) if self.learners.count > 1 else "",
        }

    def weights(self) -> dict[str, torch.Tensor]:
        """Returns the network's state on the CPU, for runners."""
        return {name: value.cpu() for name, value in self.network.state_dict().items()}

    def training_state(self) -> dict[str, Any]:
        """Returns weights, optimizer and noise-scale sums: plain types, and copies of the tensors on the CPU."""
        state = {
            "network": self.network.state_dict(),
            "optimizer": self._updater.optimizer.state_dict(),
            "noise": self._measure.state_dict(),
            "by_loss": self._losses.state_dict(),
            "probe": self._probe.state_dict(),
        }
        return {name: on_cpu(part) for name, part in state.items()}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Restores what `training_state` returned."""
        self.network.load_state_dict(state["network"])
        self._set_optimizer_state(state["optimizer"])
        self._measure.load_state_dict(state["noise"])
        if state["by_loss"] is not None:
            self._losses.load_state_dict(state["by_loss"])
        if state["probe"] is not None:
            self._probe.load_state_dict(state["probe"])

    def _get_optimizer_state(self) -> dict[str, Any]:
        return dict(on_cpu(self._updater.optimizer.state_dict()))

    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        # It moves the tensors to its parameters' device, and keeps those that are there already.
        self._updater.optimizer.load_state_dict(on_cpu(state))


def _refreshed(before: int, after: int) -> bool:
    """Returns whether an iteration's row has new estimates; `before` and `after` it: observations of training."""
    early, long = before < REFRESH_OBSERVATIONS, after - before >= SHORT_ROLLOUT_OBSERVATIONS
    return early or long or before // REFRESH_OBSERVATIONS != after // REFRESH_OBSERVATIONS


def _lag(played: Sequence[Played], version: int, *, most: int) -> int:
    """Returns how many versions older the weights that played are. Raises RuntimeError where that is not allowed."""
    versions = {part.weights_version for part in played}
    for part in played:
        if not version - most <= part.weights_version <= version or len(versions) > 1:
            allowed = f"{version - most} to {version}" if most else f"{version}"
            raise RuntimeError(
                f"runner {part.worker_index} played with weights of version {part.weights_version}, not {allowed}"
                + (f", and versions {sorted(versions)} are mixed" if len(versions) > 1 else "")
            )
    return version - played[0].weights_version


def _solve(parts: Sequence[Any]) -> list[Played]:
    refs = [part for part in parts if isinstance(part, ray.ObjectRef)]
    found = dict(zip(refs, ray.get(refs), strict=True)) if refs else {}
    return [found[part] if isinstance(part, ray.ObjectRef) else part for part in parts]
