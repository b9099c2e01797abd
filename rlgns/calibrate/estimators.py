"""Feeds the on-line estimators that take no steps with the same rollouts: ours as in training, and other tools'."""

from __future__ import annotations

import time
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from rlgns.agents.batch_gradients import GroupSplit
from rlgns.agents.batches import Indices, environment_batches, shuffle_groups
from rlgns.agents.compute.products import inner_products
from rlgns.agents.compute.team import Team
from rlgns.agents.update import Updater
from rlgns.calibrate.estimator_names import (
    ONE_SMALL,
    PER_EXAMPLE,
    PROBE,
    PROBE_ONE_SMALL,
    PROBE_TWO_RANKS,
    RIDE_ALONG_STILL,
    SHUFFLED,
    TWO_RANKS,
    Estimator,
)
from rlgns.calibrate.frozen_policy import PlayedSet, environments, precision_of
from rlgns.calibrate.live_batches import Cost, LiveBatches
from rlgns.config import random_streams
from rlgns.noise import moments_from_gram
from rlgns.noise.offline.comparison import Series
from rlgns.noise.offline.peer_estimators import (
    MomentsEstimate,
    k_diffusion,
    one_small_batch,
    per_example,
)
from rlgns.storage.checkpoint import Policy

EXAMPLES = 16
"""Observations of a rollout whose gradients are taken one by one."""


@final
class OnlineEstimators:
    """Takes each environment's gradient of a rollout once, and feeds every estimator from these.

    A group's mean gradient is the mean of its environments' gradients. So an estimator that splits by environment at
    one parameter vector needs inner products only. Shuffled groups and single observations need extra passes.
    Estimators along optimizer steps are in `rlgns.calibrate.replay`.
    """

    def __init__(self, policy: Policy, team: Team, *, sets: int) -> None:
        """Prepares for a policy after `prepare_policy`."""
        run = policy.config
        self._run, self._team = run, team
        self._num_envs, self._steps = run.env.num_envs, run.agent.rollout_steps
        self._updater = Updater(
            policy.network, run.agent, groups=self._num_envs, precision=precision_of(policy), team=team
        )
        self.live = LiveBatches(run)
        """Batches as training would measure them, had it taken no step."""
        self.series: dict[Estimator, Series] = {}
        self.costs: dict[Estimator, Cost] = {}
        self._sets = sets

    def measure(self, played: PlayedSet) -> torch.Tensor:
        """Feeds every estimator with one rollout. Returns its environments' gradients [num_envs, parameters]."""
        seed = (played.set_index, played.round_index)
        batches = self._batches(seed)
        rng = np.random.default_rng([*seed, random_streams.EXAMPLES])
        examples = rng.choice(self._num_envs * self._steps, min(EXAMPLES, self._num_envs), replace=False)
        splits = [environments(self._run), shuffle_groups(rng, batches[0]), [np.array([index]) for index in examples]]
        gradients = self._updater.gradients(played.rollouts, splits)

        began = time.perf_counter()
        rows = next(gradients).clone()
        self._cost(PROBE, began, self._num_envs * self._steps)
        products = inner_products(rows).cpu().numpy()
        batch_sq_norm = self._by_environment(played, rows, products, batches)

        began = time.perf_counter()
        shuffled = moments_from_gram(inner_products(next(gradients)).cpu().numpy(), len(splits[1][0]))
        self._cost(SHUFFLED, began, shuffled.observations)
        self._add(SHUFFLED, played, MomentsEstimate(shuffled.grad_sq, shuffled.trace), shuffled.observations)

        began = time.perf_counter()
        own = float(torch.linalg.vector_norm(next(gradients), dim=1).square().mean())
        self._cost(PER_EXAMPLE, began, len(examples))
        single = per_example(own, batch_sq_norm, self._run.batch_observations)
        self._add(PER_EXAMPLE, played, single, self._run.rollout_observations)
        return rows

    def _by_environment(
        self, played: PlayedSet, rows: torch.Tensor, products: NDArray[np.float64], batches: list[list[Indices]]
    ) -> float:
        """Feeds the estimators that need no extra pass. Returns the mean squared norm of a batch's gradient."""
        run = self._run
        b = run.batch_observations // run.groups_per_batch
        width = len(batches[0][0]) // self._steps
        found: dict[Estimator, list[MomentsEstimate]] = {RIDE_ALONG_STILL: [], ONE_SMALL: [], TWO_RANKS: []}
        sq_norms = []
        for groups in batches:
            envs = np.array([group[:width] for group in groups])
            merged = products[envs[:, :, None, None], envs[None, None]].mean(axis=(1, 3))
            moments = moments_from_gram(merged, b)
            found[RIDE_ALONG_STILL].append(MomentsEstimate(moments.grad_sq, moments.trace))
            found[ONE_SMALL].append(one_small_batch(merged, b))
            if len(groups) % 2 == 0:
                found[TWO_RANKS].append(k_diffusion(merged, b))
            sq_norms.append(merged.mean())
            group_rows = rows[torch.from_numpy(envs)].mean(1)
            self.live.add(played, group_rows, GroupSplit(observations_per_group=b, shuffled=False, step=0))
        for estimator, estimates in found.items():
            if estimates:
                self._add(estimator, played, MomentsEstimate(*np.mean(estimates, axis=0)), run.rollout_observations)
        whole = moments_from_gram(products, self._steps)
        self._add(PROBE, played, MomentsEstimate(whole.grad_sq, whole.trace), run.rollout_observations)
        self._add(PROBE_ONE_SMALL, played, one_small_batch(products, self._steps), run.rollout_observations)
        if self._num_envs % 2 == 0:
            self._add(PROBE_TWO_RANKS, played, k_diffusion(products, self._steps), run.rollout_observations)
        return float(np.mean(sq_norms))

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

    def _add(self, estimator: Estimator, played: PlayedSet, estimate: MomentsEstimate, observations: int) -> None:
        self.series.setdefault(estimator, Series(self._sets)).add(
            played.set_index,
            grad_sq=estimate.grad_sq,
            trace=estimate.trace,
            observations=observations,
            round_index=played.round_index,
        )

    def _cost(self, estimator: Estimator, began: float, observations: int) -> None:
        self.costs.setdefault(estimator, Cost()).add(began, observations)
