"""The runners as the algorithm sees them: one in its own process, or several remote ones that play one batch."""

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
"""Of one runner within an iteration: by then it is no accident (memory that runs out each time, for example)."""

BREATH_S = 0.2
"""Pause where no runner came back: those that wait for a node's room answer no question."""


@final
class AtariRunnerGroup:
    """Plays with every runner of RLlib's EnvRunnerGroup, now or ahead of the learners.

    RLlib would make up a batch of whatever arrived; here it never changes its composition.
    """

    def __init__(self, group: EnvRunnerGroup, *, runners: int, learners_are_here: bool, patience_s: float) -> None:
        """Takes a group that is built.

        Args:
            group: Of `AtariRunner`s.
            runners: Remote ones; 0: the group's local one plays.
            learners_are_here: Whether rollouts are wanted in this process; else where the learners fetch them.
            patience_s: A runner that neither delivers nor dies within so many seconds is restarted.
        """
        self._group, self._runners, self._patience_s = group, runners, patience_s
        self._learners_are_here = learners_are_here
        # Nothing that is played ahead outlives the process.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._next: Future[list[Any]] | None = None
        self._stopping = threading.Event()

    @property
    def is_ahead(self) -> bool:
        """Whether the next rollout is being played, or was."""
        return self._next is not None

    def play(self, iteration: int, weights: Weights, *, num_envs: int) -> list[Any]:
        """Plays one rollout, or takes the one that was played ahead.

        Args:
            iteration: Of the run; determines the random numbers, and is the weights' version.
            weights: To play with; those of a network that the local runner shares with the learner are not asked for.
            num_envs: Environments in use over all runners.

        Returns:
            What the runners bring home, or references to it.

        Raises:
            RuntimeError: A remote runner failed, or died again and again.
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
        """Starts to play what the next `play` returns, with weights that are older by then."""
        put = ray.put(weights())  # before the learners change them
        self._next = self._thread.submit(self._play_remote, iteration, version, put, num_envs)

    def restore(self) -> list[int]:
        """Brings restarted runners back, unless whoever plays ahead does it. Returns which.

        They need no state: weights travel with each call.
        """
        return [] if self.is_ahead else self._group.probe_unhealthy_env_runners()

    def stop(self) -> None:
        """Waits for nobody any more."""
        self._stopping.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _play_remote(self, iteration: int, version: int, weights: ray.ObjectRef, num_envs: int) -> list[Any]:
        """Plays on all runners until every one has delivered.

        `weights` is owned by this process: a dead learner takes none along.
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
            found |= self._brought(answers, version, patience_s)
            missing -= set(found)
            if missing:
                silent = self._restart_silent(missing)
                if silent:
                    patience_s *= 2  # a machine that is too slow for the first would otherwise never get there
                deaths.update(missing & alive - silent)
                for worker, times in deaths.items():
                    if times >= MOST_DEATHS:
                        raise RuntimeError(f"runner {worker} died {times} times in iteration {iteration + 1}")
                if not self._group.probe_unhealthy_env_runners():
                    self._stopping.wait(BREATH_S)
        return [found[worker] for worker in sorted(found)]

    def _brought(self, answers: list[Any], version: int, patience_s: float) -> dict[int, Any]:
        """Returns what can be had of runners' answers, by runner. Raises RuntimeError where one could not play."""
        found: dict[int, Any] = {}
        for reference, played_version, worker in answers:
            if isinstance(reference, PlayError):
                raise RuntimeError(f"{reference.traceback}runner {worker} failed: {reference.message}")
            if played_version == version and not self._learners_are_here:
                found[worker] = reference  # the learners fetch it themselves
            elif played_version == version:
                # A rollout dies with its runner, also behind the answer that announced it: it is played again.
                with contextlib.suppress(RayError):
                    found[worker] = ray.get(reference, timeout=patience_s)
        return found

    def _restart_silent(self, missing: set[int]) -> set[int]:
        """Kills runners that did not deliver and that RLlib does not know to be dead: it would wait for them again.

        Ray restarts them. Returns which.
        """
        silent = missing & set(self._manager.healthy_actor_ids())
        for worker in silent:
            ray.kill(self._manager.actors()[worker], no_restart=False)
            self._manager.set_actor_state(worker, healthy=False)
        return silent

    @property
    def _manager(self) -> Any:
        return self._group._worker_manager  # RLlib restarts what died, but has no public name for more
