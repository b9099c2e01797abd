"""The runners of an algorithm: a local one in its process, or several remote ones that share a batch."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, final

import ray
from ray.exceptions import RayError
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rlgns.engine.runner import AtariRunner, PlayError

Weights = Callable[[], Mapping[str, Any]]
"""Returns the network's present state, on the CPU."""

MOST_DEATHS = 10
"""Deaths of one runner within an iteration that fail the run: the cause must be lasting, such as too little memory."""

RETRY_S = 0.2
"""Pause after a try in which no runner came back: a runner that waits for room on a node does not answer."""


@final
class AtariRunnerGroup:
    """Plays with every runner of RLlib's EnvRunnerGroup, now or ahead of the learners.

    RLlib itself would fill a batch with whatever arrives; here a batch always has one rollout of every runner.
    """

    def __init__(self, group: EnvRunnerGroup, *, runners: int, learners_are_here: bool, patience_s: float) -> None:
        """Wraps a group that is already built.

        Args:
            group: Of `AtariRunner`s.
            runners: Number of remote runners; 0: the local runner plays.
            learners_are_here: Whether the learner is in this process; otherwise rollouts stay in the object store.
            patience_s: Seconds after which a runner that has neither delivered nor died is restarted.
        """
        self._group, self._runners, self._patience_s = group, runners, patience_s
        self._learners_are_here = learners_are_here
        # A rollout that is played ahead is lost with the process.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._next: Future[list[Any]] | None = None
        self._stopping = threading.Event()

    @property
    def is_ahead(self) -> bool:
        """Whether the next rollout is being played or is ready."""
        return self._next is not None

    def play(self, iteration: int, weights: Weights, *, num_envs: int) -> list[Any]:
        """Plays one rollout, or returns the one played ahead.

        Args:
            iteration: Of the run; determines the random numbers, and is the weights' version.
            weights: To play with; not called where the local runner shares the learner's network.
            num_envs: Environments in use over all runners.

        Returns:
            One `Played` per runner, or references to them.

        Raises:
            RuntimeError: A remote runner failed, or died MOST_DEATHS times.
        """
        if self._next is not None:
            ahead, self._next = self._next, None
            return ahead.result()
        if self._runners:
            return self._play_remote(iteration, iteration, ray.put(weights()), num_envs)
        local = self._group.local_env_runner
        assert isinstance(local, AtariRunner)
        if self._learners_are_here:
            return [local.play(iteration=iteration, version=iteration, num_envs=num_envs)]
        put = ray.put(weights())
        return [ray.put(local.play(iteration=iteration, version=iteration, weights=put, num_envs=num_envs))]

    def play_ahead(self, iteration: int, version: int, weights: Weights, *, num_envs: int) -> None:
        """Starts playing what the next `play` returns, with weights that will be older by then."""
        put = ray.put(weights())  # before the learners change them
        self._next = self._thread.submit(self._play_remote, iteration, version, put, num_envs)

    def restore(self) -> list[int]:
        """Brings restarted runners back, unless the thread that plays ahead does so. Returns their indices.

        They need no state: weights travel with each call.
        """
        return [] if self.is_ahead else self._group.probe_unhealthy_env_runners()

    def stop(self) -> None:
        """Stops without waiting for any runner."""
        self._stopping.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _play_remote(self, iteration: int, version: int, weights: ray.ObjectRef, num_envs: int) -> list[Any]:
        """Plays on all runners until every one has delivered.

        This process owns `weights`, so a learner's death does not lose them.
        """
        missing = set(range(1, self._runners + 1))
        found: dict[int, Any] = {}
        deaths, patience_s = Counter[int](), self._patience_s
        while missing and not self._stopping.is_set():
            alive = set(self._manager.healthy_actor_ids())
            answers: list[Any] = self._group.foreach_env_runner(
                lambda runner: runner.play_ref(  # type: ignore[attr-defined]
                    iteration=iteration, version=version, weights=weights, num_envs=num_envs
                ),
                local_env_runner=False,
                remote_worker_ids=sorted(missing),
                timeout_seconds=patience_s,
            )
            found |= self._rollouts_of(answers, version, patience_s)
            missing -= set(found)
            if missing:
                silent = self._restart_silent(missing)
                if silent:
                    patience_s *= 2  # a slow machine would otherwise never finish
                deaths.update(missing & alive - silent)
                for worker, times in deaths.items():
                    if times >= MOST_DEATHS:
                        raise RuntimeError(f"runner {worker} died {times} times in iteration {iteration + 1}")
                if not self._group.probe_unhealthy_env_runners():
                    self._stopping.wait(RETRY_S)
        return [found[worker] for worker in sorted(found)]

    def _rollouts_of(self, answers: list[Any], version: int, patience_s: float) -> dict[int, Any]:
        """Returns the rollouts in the runners' answers, by runner. Raises RuntimeError where one could not play."""
        found: dict[int, Any] = {}
        for reference, played_version, worker in answers:
            if isinstance(reference, PlayError):
                raise RuntimeError(f"{reference.traceback}runner {worker} failed: {reference.message}")
            if played_version == version and not self._learners_are_here:
                found[worker] = reference  # the learners fetch it themselves
            elif played_version == version:
                # A runner may die after its answer, and its rollout is lost: it is played again.
                with contextlib.suppress(RayError):
                    found[worker] = ray.get(reference, timeout=patience_s)
        return found

    def _restart_silent(self, missing: set[int]) -> set[int]:
        """Kills runners that did not deliver although RLlib counts them as healthy; Ray restarts them.

        RLlib would wait for them again. Returns their indices.
        """
        silent = missing & set(self._manager.healthy_actor_ids())
        for worker in silent:
            ray.kill(self._manager.actors()[worker], no_restart=False)
            self._manager.set_actor_state(worker, healthy=False)
        return silent

    @property
    def _manager(self) -> Any:
        return self._group._worker_manager  # RLlib has no public name for it
