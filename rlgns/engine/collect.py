"""Plays one rollout: environments, network, recorder. No Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rlgns.agents.compute.flat_gradients import equal_parts
from rlgns.agents.compute.inference import Player, Policy
from rlgns.agents.compute.team import Team
from rlgns.agents.frame_ring import FrameRing
from rlgns.agents.network import ActorCritic
from rlgns.agents.rollout import Rollout, RolloutRecorder
from rlgns.config.schema import Config
from rlgns.envs.vector import AtariEnvs, Episode


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """What one runner played in one iteration."""

    rollouts: list[Rollout]
    """One per set of environments, in a fixed order."""
    episodes: list[Episode]
    weights_version: int
    """Version of the weights that every action of the rollout was drawn with."""
    worker_index: int


@final
class Collector:
    """Plays one set of environments, rollout after rollout, with the network's present weights."""

    def __init__(
        self,
        envs: AtariEnvs,
        network: ActorCritic,
        *,
        rollout_steps: int,
        precision: str,
        stream: int,
        share: int = 0,
        started: Callable[[int], None] = lambda more: None,
        ring: bool | None = None,
    ) -> None:
        """Starts the games, staggered.

        `stream` keeps the random numbers of several collectors apart. `ring`: whether frames stay on the network's
        device (`FrameRing`); None: on an accelerator.
        """
        self.share = share
        """Index of the share of its runner's environments that this is part of."""
        self._envs, self._player = envs, Player(network, precision, envs.num_envs)
        self._steps, self._stream = rollout_steps, stream
        self._device = next(network.parameters()).device
        self._staging: Tensor | None = None
        self._cuda_stream: torch.cuda.Stream | None = None
        self._observations = envs.reset(started)
        self._recorder = RolloutRecorder(rollout_steps, self._observations, ages(self._observations))
        has_ring = self._device.type != "cpu" if ring is None else ring
        self._ring = FrameRing(rollout_steps, self._observations, self._device) if has_ring else None

    def collect(self, *, seed: int, iteration: int) -> tuple[Rollout, list[Episode]]:
        """Plays one rollout; its random numbers depend only on (seed, iteration, stream)."""
        rng = np.random.default_rng([seed, iteration, self._stream])
        shape = (self._steps, self._envs.num_envs, self._envs.num_actions)
        noise, logits, actions = rng.gumbel(size=shape), np.empty(shape, np.float32), np.empty(shape[:2], np.int64)
        episodes: list[Episode] = []
        recorder = self._recorder
        with self._player.playing() as policy:
            for t in range(self._steps):
                logits[t], values = self._look(policy, t)
                recorder.observe(self._observations[:, -1])
                actions[t] = draw_actions(logits[t], noise[t])
                step = self._envs.step(actions[t])
                ended = step.terminated | step.truncated
                recorder.act(
                    actions=actions[t],
                    values=values,
                    rewards=step.rewards,
                    terminal=step.terminated | step.life_lost,
                    truncated=step.truncated,
                    restarted=ended,
                    final_values=self._final_values(policy, step.final_observations, step.truncated),
                )
                episodes += step.episodes
                self._observations = step.observations
            next_values = self._look(policy, self._steps)[1]
        rollout = recorder.finish(next_values, log_probabilities(logits, actions))
        rollout.frames_there = self._ring.hold() if self._ring else None
        return rollout, episodes

    def close(self) -> None:
        """Stops the emulators."""
        self._envs.close()

    def _look(self, policy: Policy, t: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Evaluates the observations of step t; those after the last step are the next rollout's first."""
        if self._ring is None:
            return self._evaluate(policy, self._observations)
        with self._own_stream():
            if t == 0:
                self._ring.begin()
            return _answers(policy(self._ring.stacks(t, self._observations[:, -1], self._recorder.ages)))

    def _evaluate(
        self, policy: Policy, observations: npt.NDArray[np.uint8]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        if self._device.type == "cpu":
            logits, values = policy(torch.from_numpy(observations))
            return logits.numpy(), values.numpy()
        with self._own_stream():
            return _answers(policy(self._staged(observations).to(self._device, non_blocking=True)))

    def _staged(self, observations: npt.NDArray[np.uint8]) -> Tensor:
        """Copies observations to pinned memory, from which a copy to the device does not wait for other work there."""
        if self._staging is None or len(self._staging) < len(observations):
            pin = torch.cuda.is_available()
            self._staging = torch.empty(observations.shape, dtype=torch.uint8, pin_memory=pin)
        return self._staging[: len(observations)].copy_(torch.from_numpy(observations))

    @contextlib.contextmanager
    def _own_stream(self) -> Iterator[None]:
        """Runs in a stream of its own on a GPU, so that one half's evaluation does not wait for the other's."""
        if not torch.cuda.is_available():
            yield
            return
        self._cuda_stream = self._cuda_stream or torch.cuda.Stream(self._device)
        self._cuda_stream.wait_stream(torch.cuda.default_stream(self._device))
        with torch.cuda.stream(self._cuda_stream):
            yield

    def _final_values(
        self, policy: Policy, final_observations: npt.NDArray[np.uint8] | None, truncated: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32] | None:
        if final_observations is None or not truncated.any():
            return None
        values = np.zeros(len(truncated), np.float32)
        values[truncated] = self._evaluate(policy, final_observations[truncated])[1]
        return values


@final
class Collectors:
    """Several collectors side by side, each with its own thread and its own share of the environments.

    Emulation of one share overlaps with the network's work for another, and no share waits for another within a
    rollout.

    An adaptive batch has tiers of collectors: the first tier has the fewest environments that may be in use, each other
    as many as all before it. A tier starts when it is first needed, and its games pause while it is not in use.
    """

    def __init__(
        self,
        game: str,
        run: Config,
        network: ActorCritic,
        *,
        team: Team,
        worker_index: int,
        iteration: int,
        precision: str,
        started: Callable[[int], None] = lambda more: None,
    ) -> None:
        """Starts one runner's share of a run's environments.

        Args:
            game: ROM name.
            run: The resolved configuration.
            network: Chooses the actions.
            team: Threads that play; as many as can have equal shares of the environments are used.
            worker_index: Of the runner.
            iteration: Of the run; sets the random streams, so that a resumed run repeats no earlier game.
            precision: `float32` or `bfloat16`.
            started: Called by the team's threads with the number of environments that have just started.
        """
        self._game, self._run, self._network, self._precision = game, run, network, precision
        self._team, self._worker_index, self._started = team, worker_index, started
        self._tiers: list[list[Collector]] = []
        self._streams = 0  # random streams used by the tiers so far, over all runners
        self._start(run.env.num_envs, iteration)

    def play(self, *, iteration: int, weights_version: int, num_envs: int | None = None) -> Played:
        """Plays one rollout on every set of environments in use.

        Args:
            iteration: Of the run; determines the random numbers.
            weights_version: Returned with the rollouts.
            num_envs: Environments in use over all runners, one of `run.env_tiers`; None: `run.env.num_envs`.
        """
        num_envs = num_envs or self._run.env.num_envs
        self._start(num_envs, iteration)
        # Sorted as remote runners would be, one for each share: local and remote play give the same run.
        in_use = sorted(
            (collector for tier in self._tiers[: self._run.env_tiers.index(num_envs) + 1] for collector in tier),
            key=lambda collector: collector.share,
        )
        seed = self._run.run.seed
        done = self._team.map(lambda collector: collector.collect(seed=seed, iteration=iteration), in_use)
        return Played(
            rollouts=[rollout for rollout, _ in done],
            episodes=[episode for _, episodes in done for episode in episodes],
            weights_version=weights_version,
            worker_index=self._worker_index,
        )

    def _start(self, num_envs: int, iteration: int) -> None:
        """Starts the tiers that are still missing for `num_envs` environments."""
        tiers, runners = self._run.env_tiers, max(1, self._run.engine.runners)
        for number in range(len(self._tiers), tiers.index(num_envs) + 1):
            size = (tiers[number] - (tiers[number - 1] if number else 0)) // runners
            # On a GPU two halves: one is evaluated in large batches while the other's emulators, which have threads of
            # their own, compute.
            on_gpu = next(self._network.parameters()).is_cuda
            shares = equal_parts(size, min(2, self._team.size) if on_gpu else self._team.size)
            self._tiers.append(self._start_tier(size, shares, iteration))
            self._streams += runners * shares

    def _start_tier(self, num_envs: int, shares: int, iteration: int) -> list[Collector]:
        run, team = self._run, self._team
        threads = run.env.threads or max(1, team.size // shares)
        # Two runners with a thread each play the same games as two threads of one process.
        first = self._streams + max(0, self._worker_index - 1) * shares

        def start(share: int) -> Collector:
            stream = first + share
            envs = AtariEnvs(
                self._game,
                run.env,
                num_envs=num_envs // shares,
                seed=run.run.seed,
                worker_index=stream,
                restarts=iteration,
                threads=threads,
            )
            steps = run.agent.rollout_steps
            return Collector(
                envs,
                self._network,
                rollout_steps=steps,
                precision=self._precision,
                stream=stream,
                share=share,
                started=self._started,
            )

        return team.map(start, range(shares))

    def close(self) -> None:
        """Stops the emulators."""
        for tier in self._tiers:
            for collector in tier:
                collector.close()


def _answers(outputs: tuple[Tensor, Tensor]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Returns a policy's outputs as arrays, with one wait for an accelerator."""
    logits, values = outputs
    both = torch.cat([logits, values[:, None]], 1).cpu().numpy()
    return both[:, :-1], both[:, -1]


def draw_actions(logits: npt.NDArray[np.float32], noise: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Draws from softmax(logits) by the Gumbel maximum; both [..., actions], the noise of the Gumbel distribution."""
    actions: npt.NDArray[np.int64] = np.argmax(logits + noise, axis=-1)
    return actions


def log_probabilities(logits: npt.NDArray[np.float32], actions: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Log of softmax(logits), [..., actions], at the actions taken, [...]."""
    shifted = logits - logits.max(-1, keepdims=True)
    chosen = np.take_along_axis(shifted, actions[..., None], -1)[..., 0]
    taken: npt.NDArray[np.float32] = chosen - np.log(np.exp(shifted).sum(-1))
    return taken


def ages(observations: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Counts the frames of the present game in stacks uint8 [N, stack, H, W]: all but the leading blank ones."""
    shown = np.asarray(observations.any(axis=(2, 3)))
    shown[:, -1] = True
    return (observations.shape[1] - shown.argmax(axis=1)).astype(np.uint8)
