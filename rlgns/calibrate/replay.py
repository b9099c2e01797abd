"""Replays first epochs from a checkpoint, and measures at every theta_k with games that no step has seen."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from rlgns.agents.batch_gradients import GroupSplit
from rlgns.agents.compute.products import inner_products
from rlgns.agents.compute.team import Team
from rlgns.agents.schedule import learning_rate
from rlgns.agents.update import Updater
from rlgns.calibrate.estimator_names import ACROSS_STEPS, GPT_NEOX, RIDE_ALONG, Estimator
from rlgns.calibrate.frozen_policy import PlayedSet, environments, precision_of
from rlgns.calibrate.live_batches import LiveBatches
from rlgns.config.schema import Config
from rlgns.noise import moments_from_gram
from rlgns.noise.offline.comparison import Series
from rlgns.noise.offline.path_truth import PathTruth
from rlgns.noise.offline.peer_estimators import MomentsEstimate, across_steps, gpt_neox
from rlgns.storage.checkpoint import Policy

Array = NDArray[np.float64]

MEASURERS = 3
"""Sets of environments that measure along the steps of the others: the last ones."""


def step_weights(run: Config) -> list[float]:
    """Returns the weight of each step of an epoch in `noise/scale`: some first batches are split by observations."""
    every = run.noise.shuffled_every
    return [1 - 1 / every if every > 1 else 1.0, *[1.0] * (run.agent.minibatches - 1)]


@final
class OptimizerSteps:
    """Takes a first epoch's optimizer steps on a copy of the network, which is reset to the checkpoint before each."""

    def __init__(self, policy: Policy, team: Team) -> None:
        """Prepares for a policy after `prepare_policy`."""
        run = policy.config
        self.network = copy.deepcopy(policy.network)
        """At the parameters of the step under way."""
        self._weights = {name: value.clone() for name, value in policy.network.state_dict().items()}
        self._optimizer = policy.state["learner"]["optimizer"]
        self._on_step: Callable[[torch.Tensor, GroupSplit], None]
        self._updater = Updater(
            self.network,
            dataclasses.replace(run.agent, epochs=1),
            groups=run.groups_per_batch,
            precision=precision_of(policy),
            on_groups=lambda rows, split: self._on_step(rows, split),
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

    def take(
        self, played: PlayedSet, seed: tuple[int, ...], on_step: Callable[[torch.Tensor, GroupSplit], None]
    ) -> None:
        """Takes all steps; before each calls `on_step` with the batch's group gradients, which it must not keep."""
        self.network.load_state_dict(self._weights)
        self._updater.optimizer.load_state_dict(copy.deepcopy(self._optimizer))
        self._on_step = on_step
        self._updater.update(played.rollouts, learning_rate=self.learning_rate, seed=seed)


@final
class Replays:
    """Replays iterations, measures along them by brute force, and feeds the estimators that see steps."""

    def __init__(self, policy: Policy, team: Team, *, sets: int) -> None:
        """Prepares for a policy after `prepare_policy`."""
        run = policy.config
        self._run, self._sets = run, sets
        self._steps = OptimizerSteps(policy, team)
        self._network = copy.deepcopy(policy.network)  # apart from that which steps, whose gradients are in use
        self._measurer = Updater(
            self._network, run.agent, groups=run.env.num_envs, precision=precision_of(policy), team=team
        )
        self.steppers, self.measurers = range(sets - MEASURERS), range(sets - MEASURERS, sets)
        self.truth = PathTruth(
            steppers=self.steppers,
            measurers=self.measurers,
            rollout_steps=run.agent.rollout_steps,
            weights=step_weights(run),
        )
        self.live = LiveBatches(run)
        """Batches as training measures them, along the steps."""
        self.series = {estimator: Series(sets) for estimator in (RIDE_ALONG, ACROSS_STEPS, GPT_NEOX)}

    @property
    def passes(self) -> int:
        """Gradients of a whole rollout that one replay takes."""
        return 1 + self._run.agent.minibatches * MEASURERS

    def replay(self, played: PlayedSet, measuring: Sequence[PlayedSet]) -> None:
        """Takes the steps of one iteration on a stepper's rollout; the measurers' rollouts are of the same round."""
        means: list[torch.Tensor] = []
        groups: list[MomentsEstimate] = []
        products: list[Array] = []
        sq_norms: list[Array] = []
        every = self._run.noise.shuffled_every

        def on_step(rows: torch.Tensor, split: GroupSplit) -> None:
            moments = moments_from_gram(inner_products(rows).cpu().numpy(), split.observations_per_group)
            groups.append(MomentsEstimate(moments.grad_sq, moments.trace))
            means.append(rows.mean(0))
            # Training splits one first batch in `every` by observations, and leaves it out.
            if split.step or not every or (played.round_index * self._sets + played.set_index) % every:
                self.live.add(played, rows, split)
            at_step = self._measure(measuring)
            products.append(at_step[0])
            sq_norms.append(at_step[1])

        self._steps.take(played, (played.set_index, played.round_index), on_step)
        self.truth.add(
            round_index=played.round_index,
            stepper=played.set_index,
            products=np.array(products),
            sq_norms=np.array(sq_norms),
        )
        gram = inner_products(torch.stack(means)).cpu().numpy()
        batch = self._run.batch_observations
        weighted = np.average(np.array(groups), axis=0, weights=step_weights(self._run))
        self._add(RIDE_ALONG, played, MomentsEstimate(float(weighted[0]), float(weighted[1])))
        for estimator, formula in ((ACROSS_STEPS, across_steps), (GPT_NEOX, gpt_neox)):
            self._add(estimator, played, formula(gram, batch))

    def _measure(self, measuring: Sequence[PlayedSet]) -> tuple[Array, Array]:
        """Returns the measurers' inner products and mean squared norms at the parameters of the step under way."""
        self._network.load_state_dict(self._steps.network.state_dict())
        means, sq_norms = [], []
        for played in measuring:
            rows = next(self._measurer.gradients(played.rollouts, [environments(self._run)]))
            means.append(rows.mean(0))
            sq_norms.append(float(torch.linalg.vector_norm(rows, dim=1).square().mean()))
        return inner_products(torch.stack(means)).cpu().numpy(), np.array(sq_norms)

    def _add(self, estimator: Estimator, played: PlayedSet, estimate: MomentsEstimate) -> None:
        self.series[estimator].add(
            played.set_index,
            grad_sq=estimate.grad_sq,
            trace=estimate.trace,
            observations=self._run.rollout_observations,
            round_index=played.round_index,
        )
