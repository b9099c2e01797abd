"""Feeds every on-line estimator with the same rollouts of a frozen policy: ours as in training, and other tools'."""

from __future__ import annotations

import copy
import dataclasses
import time
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from rlgns.agents.batch_gradients import GroupSplit
from rlgns.agents.batches import Indices, environment_batches, shuffle_groups
from rlgns.agents.compute.products import inner_products
from rlgns.agents.compute.team import Team
from rlgns.agents.schedule import learning_rate
from rlgns.agents.update import Updater
from rlgns.calibrate.estimator_names import (
    ACROSS_STEPS,
    GPT_NEOX,
    ONE_SMALL,
    PER_EXAMPLE,
    PROBE,
    PROBE_ONE_SMALL,
    PROBE_TWO_RANKS,
    RIDE_ALONG,
    SHUFFLED,
    TWO_RANKS,
    Estimator,
)
from rlgns.calibrate.frozen_policy import PlayedSet, precision_of
from rlgns.config import random_streams
from rlgns.engine.ride_along import RideAlong
from rlgns.noise import moments_from_gram
from rlgns.noise.offline.comparison import Series
from rlgns.noise.offline.peer_estimators import (
    MomentsEstimate,
    across_steps,
    gpt_neox,
    k_diffusion,
    one_small_batch,
    per_example,
)
from rlgns.storage.checkpoint import Policy

EXAMPLES = 16
"""Observations of a rollout whose gradients are taken one by one."""

STEPS_EVERY = 4
"""Optimizer steps are taken from one rollout in so many: they need an extra pass here."""


@dataclass(slots=True)
class Cost:
    """Time taken, and for how many observations."""

    seconds: float = 0.0
    observations: int = 0

    @property
    def microseconds(self) -> float:
        """Per observation; NaN before any."""
        return 1e6 * self.seconds / self.observations if self.observations else float("nan")

    def add(self, began: float, observations: int) -> None:
        """Adds the time since `began` (perf_counter)."""
        self.seconds += time.perf_counter() - began
        self.observations += observations


@final
class OnlineEstimators:
    """Takes each environment's gradient of a rollout once, and feeds every estimator from these.

    A group's mean gradient is the mean of its environments' gradients. So an estimator that splits by environment at
    one parameter vector needs inner products only. Shuffled groups, single observations and optimizer steps need extra
    passes.
    """

    def __init__(self, policy: Policy, team: Team, *, sets: int) -> None:
        """Prepares for a policy after `prepare_policy`."""
        run = policy.config
        self._run, self._team = run, team
        self._num_envs, self._steps = run.env.num_envs, run.agent.rollout_steps
        self._updater = Updater(
            policy.network, run.agent, groups=self._num_envs, precision=precision_of(policy), team=team
        )
        self._optimizer_steps = OptimizerSteps(policy, team)
        config = dataclasses.replace(run.noise, horizon_observations=0, horizon_follows_run=False)
        self.trackers = [RideAlong(config, minibatches=run.agent.minibatches) for _ in range(sets + 1)]
        """The code that training uses: one per set, and the last for all."""
        self.series: dict[Estimator, Series] = {}
        self.costs: dict[Estimator, Cost] = {}
        self._sets = sets

    def measure(self, played: PlayedSet) -> torch.Tensor:
        """Feeds every estimator with one rollout. Returns its environments' gradients [num_envs, parameters]."""
        seed = (played.set_index, played.round_index)
        batches = self._batches(seed)
        rng = np.random.default_rng([*seed, random_streams.EXAMPLES])
        examples = rng.choice(self._num_envs * self._steps, min(EXAMPLES, self._num_envs), replace=False)
        splits = [self._environments(), shuffle_groups(rng, batches[0]), [np.array([index]) for index in examples]]
        gradients = self._updater.gradients(played.rollouts, splits)

        began = time.perf_counter()
        rows = next(gradients).clone()
        self._cost(PROBE, began, self._num_envs * self._steps)
        products = inner_products(rows).cpu().numpy()
        batch_sq_norm = self._by_environment(played.set_index, rows, products, batches)

        began = time.perf_counter()
        shuffled = moments_from_gram(inner_products(next(gradients)).cpu().numpy(), len(splits[1][0]))
        self._cost(SHUFFLED, began, shuffled.observations)
        self._add(SHUFFLED, played.set_index, MomentsEstimate(shuffled.grad_sq, shuffled.trace), shuffled.observations)

        began = time.perf_counter()
        own = float(torch.linalg.vector_norm(next(gradients), dim=1).square().mean())
        self._cost(PER_EXAMPLE, began, len(examples))
        single = per_example(own, batch_sq_norm, self._run.batch_observations)
        self._add(PER_EXAMPLE, played.set_index, single, self._run.rollout_observations)

        if self._run.agent.minibatches > 1 and (played.set_index + played.round_index) % STEPS_EVERY == 0:
            along = self._optimizer_steps.gram(played, seed)
            for estimator, formula in ((ACROSS_STEPS, across_steps), (GPT_NEOX, gpt_neox)):
                estimate = formula(along, self._run.batch_observations)
                self._add(estimator, played.set_index, estimate, self._run.rollout_observations)
        return rows

    def _by_environment(
        self, set_index: int, rows: torch.Tensor, products: NDArray[np.float64], batches: list[list[Indices]]
    ) -> float:
        """Feeds the estimators that need no extra pass. Returns the mean squared norm of a batch's gradient."""
        run = self._run
        b = run.batch_observations // run.groups_per_batch
        width = len(batches[0][0]) // self._steps
        found: dict[Estimator, list[MomentsEstimate]] = {RIDE_ALONG: [], ONE_SMALL: [], TWO_RANKS: []}
        sq_norms = []
        for groups in batches:
            envs = np.array([group[:width] for group in groups])
            merged = products[envs[:, :, None, None], envs[None, None]].mean(axis=(1, 3))
            moments = moments_from_gram(merged, b)
            found[RIDE_ALONG].append(MomentsEstimate(moments.grad_sq, moments.trace))
            found[ONE_SMALL].append(one_small_batch(merged, b))
            if len(groups) % 2 == 0:
                found[TWO_RANKS].append(k_diffusion(merged, b))
            sq_norms.append(merged.mean())
            group_rows = rows[torch.from_numpy(envs)].mean(1)
            for tracker in (self.trackers[set_index], self.trackers[-1]):
                tracker.on_groups(group_rows, GroupSplit(observations_per_group=b, shuffled=False, step=0))
        for estimator, estimates in found.items():
            if estimates:
                self._add(estimator, set_index, MomentsEstimate(*np.mean(estimates, axis=0)), run.rollout_observations)
        whole = moments_from_gram(products, self._steps)
        self._add(PROBE, set_index, MomentsEstimate(whole.grad_sq, whole.trace), run.rollout_observations)
        self._add(PROBE_ONE_SMALL, set_index, one_small_batch(products, self._steps), run.rollout_observations)
        if self._num_envs % 2 == 0:
            self._add(PROBE_TWO_RANKS, set_index, k_diffusion(products, self._steps), run.rollout_observations)
        return float(np.mean(sq_norms))

    def ride_along_cost(self) -> Cost:
        """Returns the time of the ride-along's own arithmetic."""
        seconds = sum(tracker.measure_s for tracker in self.trackers[:-1])
        return Cost(seconds, self.costs[PROBE].observations if self.costs else 0)

    def _environments(self) -> list[Indices]:
        steps = np.arange(self._steps, dtype=np.int64) * self._num_envs
        return [steps + env for env in range(self._num_envs)]

    def _batches(self, seed: tuple[int, int]) -> list[list[Indices]]:
        """Returns the groups that `Updater.update` makes of a rollout with this seed in its first epoch."""
        return list(
            environment_batches(
                np.random.default_rng(list(seed)),
                num_steps=self._steps,
                num_envs=self._num_envs,
                minibatches=self._run.agent.minibatches,
                groups=self._run.groups_per_batch,
            )
        )

    def _add(self, estimator: Estimator, set_index: int, estimate: MomentsEstimate, observations: int) -> None:
        series = self.series.setdefault(estimator, Series(self._sets))
        series.add(set_index, grad_sq=estimate.grad_sq, trace=estimate.trace, observations=observations)

    def _cost(self, estimator: Estimator, began: float, observations: int) -> None:
        self.costs.setdefault(estimator, Cost()).add(began, observations)


@final
class OptimizerSteps:
    """Takes the first epoch's optimizer steps on a copy of the network, which is reset before every rollout."""

    def __init__(self, policy: Policy, team: Team) -> None:
        run = policy.config
        self._network = copy.deepcopy(policy.network)
        self._weights = {name: value.clone() for name, value in policy.network.state_dict().items()}
        self._optimizer = policy.state["learner"]["optimizer"]
        self._gradients: list[torch.Tensor] = []
        self._updater = Updater(
            self._network,
            dataclasses.replace(run.agent, epochs=1),
            groups=run.groups_per_batch,
            precision=precision_of(policy),
            on_groups=lambda rows, _: self._gradients.append(rows.mean(0)),
            team=team,
        )
        self.learning_rate = learning_rate(
            run.agent,
            # Before the last iteration: at a run's end the next one's rate is zero.
            observations=max(0, policy.observations - run.rollout_observations),
            total_observations=run.run.observations,
            batch_observations=run.batch_observations,
            base_batch_observations=policy.saved_config.batch_observations,
        )
        """That training had at this checkpoint."""

    def gram(self, played: PlayedSet, seed: tuple[int, int]) -> NDArray[np.float64]:
        """Returns [steps, steps], inner products of the steps' gradients, each at the parameters of its step."""
        self._network.load_state_dict(self._weights)
        self._updater.optimizer.load_state_dict(copy.deepcopy(self._optimizer))
        self._gradients.clear()
        self._updater.update(played.rollouts, learning_rate=self.learning_rate, seed=seed)
        return inner_products(torch.stack(self._gradients)).cpu().numpy()
