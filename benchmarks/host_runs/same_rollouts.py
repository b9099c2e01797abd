"""The same rollouts of one frozen policy, measured by all three: what differs is definition, not chance.

rlgns plays, with its own environments and in float32. Every rollout is written into Stable-Baselines3's buffer and, as
episodes, given to RLlib's learner; each adapter then measures it as it measures its host's own.

RLlib standardises advantages over all rows of its batch, one row per game among them that is there for its value alone.
A second learner standardises them over the observations, as the others do. What then differs is the groups, of games
instead of environments: rlgns measures in RLlib's groups too, and with each game as a group.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.evaluation.postprocessing import Postprocessing
from stable_baselines3 import PPO

from benchmarks.host_runs.rllib import configure
from benchmarks.host_runs.rows import FIRST, PREFIX
from benchmarks.host_runs.sb3 import build
from benchmarks.host_runs.settings import HostRun, make_env
from rlgns.adapters.groups import Indices, split
from rlgns.adapters.measurement import RolloutNoiseScale
from rlgns.adapters.rllib import NoiseScalePPOLearner
from rlgns.adapters.sb3_loss import MOST_OBSERVATIONS, environments, rollout_loss
from rlgns.agents.compute.products import inner_products
from rlgns.agents.rollout import FrameStacks, Rollout
from rlgns.agents.update import Updater
from rlgns.calibrate.frozen_policy import play_rounds, prepare_policy
from rlgns.noise.moments import moments_from_sums
from rlgns.storage.checkpoint import Policy, load_policy

Array = NDArray[Any]
Moments = tuple[float, float]
"""grad_sq and trace."""


@final
class OverObservations(NoiseScalePPOLearner):
    """Measures with advantages standardised over the observations alone; training is RLlib's own."""

    def _measure(self, batch: Any, names: Mapping[str, Sequence[str]]) -> None:
        columns = batch.policy_batches[DEFAULT_MODULE_ID]
        before = columns[Postprocessing.ADVANTAGES]
        real = before[columns[Columns.LOSS_MASK]]
        columns[Postprocessing.ADVANTAGES] = (before - real.mean()) / real.std()
        super()._measure(batch, names)
        columns[Postprocessing.ADVANTAGES] = before


def same_rollouts(run: HostRun) -> list[dict[str, float]]:
    """Returns a row per rollout: `HOST_grad_sq` and `HOST_trace`; the first two have none.

    `HOST` is ours, sb3, rllib; changed: RLlib with advantages standardised over the observations; grouped: rlgns in
    RLlib's groups; games: rlgns with each game, or the part of it in this rollout, as a group.
    """
    policy = _in_float32(load_policy(Path(run.checkpoint)), run)
    model, learner, changed = build(run), _learner(run, NoiseScalePPOLearner), _learner(run, OverObservations)
    measured = RolloutNoiseScale(model.policy, groups=run.num_envs, algorithm="ppo", epochs=1)
    rows = []
    with closing(prepare_policy(policy)) as team:
        ours = Updater(policy.network, policy.config.agent, groups=2 * run.num_envs, precision="float32", team=team)
        games = play_rounds(policy, team, sets=1, seed=run.seed)
        with closing(games):
            for _ in range(run.iterations):
                longer = next(games).rollouts
                rollouts = [_without_last_step(rollout) for rollout in longer]
                data = _Columns(longer, rollouts)
                by_game = data.rows_by_game()
                order = np.random.default_rng(learner._weights_seq_no + 1).permutation(
                    len(by_game)
                )  # as the adapter does
                found = {
                    "ours": _by_ours(ours, rollouts, data.rows_by_environment()),
                    "grouped": _by_ours(ours, rollouts, split([by_game[game] for game in order], run.num_envs)),
                    "games": _by_ours(ours, rollouts, by_game),
                    "sb3": _by_sb3(model, measured, data),
                    "rllib": _by_rllib(learner, data),
                    "changed": _by_rllib(changed, data),
                }
                rows.append(
                    {f"{host}_{name}": value for host, pair in found.items() for name, value in _named(pair).items()}
                )
    return rows[FIRST:]


def _named(pair: Moments) -> dict[str, float]:
    return {"grad_sq": pair[0], "trace": pair[1]}


def _in_float32(policy: Policy, run: HostRun) -> Policy:
    """Returns the policy, to be played in float32 and a step longer: the host needs the observation after a rollout."""
    config = policy.config
    changed = dataclasses.replace(
        config,
        env=dataclasses.replace(config.env, num_envs=run.num_envs, stagger_steps=run.stagger_steps),
        agent=dataclasses.replace(config.agent, rollout_steps=run.rollout_steps + 1, minibatches=1),
        engine=dataclasses.replace(config.engine, precision="float32"),
    )
    return dataclasses.replace(policy, config=changed)


def _without_last_step(rollout: Rollout) -> Rollout:
    names = {field.name for field in dataclasses.fields(rollout)} - {"frames_there"}
    shorter: dict[str, Any] = {name: getattr(rollout, name)[:-1] for name in names}
    return Rollout(**shorter)


class _Columns:
    """A rollout's columns [time, env], all environments side by side; observations and values have one step more."""

    def __init__(self, longer: Sequence[Rollout], rollouts: Sequence[Rollout]) -> None:
        def joined(name: str) -> Array:
            return np.concatenate([getattr(rollout, name) for rollout in rollouts], axis=1)

        self.actions, self.log_probs, self.values = joined("actions"), joined("log_probs"), joined("values")
        self.ends, self.rewards = joined("terminal"), np.clip(joined("rewards"), -1, 1)
        if joined("truncated").any():
            raise ValueError("a game was cut off by the time limit: play fewer rollouts")
        stacks = FrameStacks.of(longer, torch.device("cpu"))
        self.steps, self.num_envs = self.actions.shape
        every = stacks.gather(torch.arange((self.steps + 1) * self.num_envs)).numpy()
        self.observations = every.reshape(self.steps + 1, self.num_envs, *every.shape[1:])

    def rows_by_environment(self) -> list[Indices]:
        """Returns each environment's observations, `step * num_envs + env`."""
        steps = np.arange(self.steps, dtype=np.int64) * self.num_envs
        return [steps + env for env in range(self.num_envs)]

    def rows_by_game(self) -> list[Indices]:
        """Returns those of each game, in the order of `episodes`."""
        steps = np.arange(self.steps, dtype=np.int64) * self.num_envs
        return [steps[first:end] + env for env, first, end in self._games()]

    def episodes(self) -> list[SingleAgentEpisode]:
        """Returns each environment's games, whole or in part, as RLlib's runner would."""
        return [self._episode(env, first, end) for env, first, end in self._games()]

    def _games(self) -> Iterator[tuple[int, int, int]]:
        for env in range(self.num_envs):
            first = 0
            for end in [*np.flatnonzero(self.ends[:, env]) + 1, self.steps]:
                if end > first:
                    yield env, first, int(end)
                first = int(end)

    def _episode(self, env: int, first: int, end: int) -> SingleAgentEpisode:
        part = slice(first, end)
        return SingleAgentEpisode(
            id_=f"{env}-{first}",
            observations=list(self.observations[first : end + 1, env]),
            actions=list(self.actions[part, env]),
            rewards=list(self.rewards[part, env]),
            terminated=bool(self.ends[end - 1, env]),
            extra_model_outputs={
                "action_logp": list(self.log_probs[part, env]),
                "action_dist_inputs": [np.zeros(1, np.float32)] * (end - first),  # for the KL loss alone, which is off
            },
            len_lookback_buffer=0,
        )


def _by_ours(updater: Updater, rollouts: Sequence[Rollout], groups: Sequence[Indices]) -> Moments:
    products = inner_products(next(updater.gradients(rollouts, [groups]))).cpu().numpy()
    sizes = np.array([len(group) for group in groups], np.float64)
    cross = np.outer(sizes, sizes) * products
    moments = moments_from_sums(list(sizes), list(np.diag(products)), float(cross.sum() - np.trace(cross)))
    return moments.grad_sq, moments.trace


def _by_sb3(model: PPO, measured: RolloutNoiseScale, data: _Columns) -> Moments:
    buffer = model.rollout_buffer
    buffer.reset()
    buffer.observations[:], buffer.actions[:] = data.observations[:-1], data.actions[..., None]
    buffer.rewards[:], buffer.log_probs[:], buffer.values[:] = data.rewards, data.log_probs, data.values[:-1]
    buffer.episode_starts[1:] = data.ends[:-1]
    buffer.compute_returns_and_advantage(torch.from_numpy(data.values[-1]), data.ends[-1])
    buffer.full = True
    measured.measure(
        split(environments(model), data.num_envs),
        rollout_loss(model, True),
        chunk_observations=MOST_OBSERVATIONS,
        batch_observations=data.actions.size,
        learning_rate=0.0,
        observations=0,
    )
    return _newest(measured.row())


def _learner(run: HostRun, kind: type[NoiseScalePPOLearner]) -> Any:
    config = configure(run).learners(learner_class=kind)
    env = make_env(run.game)
    spaces = {DEFAULT_MODULE_ID: (env.observation_space, env.action_space)}
    return config.build_learner(env=None, spaces=spaces)


def _by_rllib(learner: Any, data: _Columns) -> Moments:
    learner.update(
        episodes=data.episodes(),
        timesteps={"num_env_steps_sampled_lifetime": 0},
        num_epochs=1,
        minibatch_size=data.actions.size,
    )
    return _newest(learner.noise_scale(DEFAULT_MODULE_ID).row())


def _newest(row: Mapping[str, Any]) -> Moments:
    return float(row.get(f"{PREFIX}/grad_sq", np.nan)), float(row.get(f"{PREFIX}/trace", np.nan))
