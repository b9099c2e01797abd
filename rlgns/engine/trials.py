"""Runs trials under Tune and passes their rows to a listener."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import ray
from ray import tune

from rlgns.engine.algorithm import AtariPPO
from rlgns.engine.forgetful_tune import forgetful_tune
from rlgns.engine.node_watch import NodeWatch
from rlgns.engine.ray_session import Lost, RayLostError, connected
from rlgns.engine.run_settings import TrialSpec
from rlgns.engine.starting import StartWatch
from rlgns.engine.trial_queue import QueueSearcher, TrialQueue
from rlgns.envs.vector import num_actions
from rlgns.errors import ExitCode, last_line
from rlgns.machine.footprint import warnings
from rlgns.machine.nodes import nodes_of_cluster
from rlgns.machine.placement import Placement, TrialShare, wants_gpu
from rlgns.monitor.interrupt import Interrupt
from rlgns.monitor.listener import Listener, RunStart
from rlgns.storage.scratch import scratch_folder


@dataclass(slots=True)
class Outcome:
    """How a session of training ended."""

    stopped: ExitCode | None = None
    """INTERRUPTED, TERMINATED or HUNG_UP where the user or the system stopped it; None where nobody did."""
    faults: dict[str, str] = field(default_factory=dict)
    """What stopped a run early, one line, by the run's key."""

    @property
    def ending(self) -> str:
        """`interrupted`, `fault` or `done`."""
        return "interrupted" if self.stopped is not None else "fault" if self.faults else "done"


def run_trials(queue: TrialQueue, listener: Listener, *, most: int = 0, max_failures: int = 3) -> Outcome:
    """Trains every run of a queue, side by side, each as a Tune trial.

    Tune places the trials, restarts one that died (it resumes from its folder's newest checkpoint) and stops them on an
    interrupt. Tune's own files, checkpoints and display are off.

    Args:
        queue: Of runs whose folders exist.
        listener: Receives every row.
        most: Trials at once, at most one per CPU; 0: one per CPU, or up to four per GPU where there are any.
        max_failures: Restarts from the newest checkpoint that a trial may take without a new iteration.

    Returns:
        How it ended. Each trial saved its last complete iteration if it could.
    """
    outcome = Outcome()
    interrupt = Interrupt(listener)
    with interrupt.caught(), scratch_folder() as scratch, connected(scratch) as lost:
        interrupt.catch()  # Ray has put its own handler of SIGTERM in the place of ours: it exits at once
        share = TrialShare.of(nodes_of_cluster(), most)
        queue.shared(share.most, share.cpus)
        reported: set[str] = set()

        def settings(start: RunStart) -> dict[str, Any]:
            found = settings_of(share, start)
            starting.expect(start.key)
            for warning in warnings(start.config, share, found["trial_config"].placement):
                if warning not in reported:
                    listener.message(f"placement: {warning}")
                reported.add(warning)
            return found

        starting = StartWatch(listener.starting)
        searcher = QueueSearcher(queue, settings, most=share.most)
        # Tune would let a single trial wait for its actor; the searcher limits the number itself.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(share.most)
        relay = _Relay(listener, outcome, queue, searcher, starting, lost)
        stopper = _Stopper(interrupt, queue, searcher)
        try:
            with forgetful_tune():
                _tuner(searcher, relay, stopper, max_failures=max_failures, scratch=scratch / "tune").fit()
        except RayLostError as error:
            relay.end_all(f"{error}, and this machine has no other node to continue on")
    outcome.stopped = interrupt.code
    return outcome


def settings_of(share: TrialShare, start: RunStart) -> dict[str, Any]:
    """Returns the settings of a run's algorithm."""
    run = start.config
    trial = TrialSpec(
        name=start.key,
        game=start.game,
        num_actions=num_actions(start.game, run.env.protocol),
        folder=str(start.folder.path.absolute()),
        placement=Placement.of(run, share, gpu=wants_gpu(run, share)),
    )
    return {"run_config": run, "trial_config": trial}


def _tuner(
    searcher: QueueSearcher, relay: tune.Callback, stopper: tune.Stopper, *, max_failures: int, scratch: Path
) -> tune.Tuner:
    return tune.Tuner(
        AtariPPO,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            trial_name_creator=lambda trial: trial.config["trial_config"].name,
            trial_dirname_creator=lambda trial: trial.config["trial_config"].name,
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=str(scratch),  # for Tune's own files; everything that counts is in the runs' folders
            stop=stopper,
            callbacks=[relay],
            failure_config=tune.FailureConfig(max_failures=max_failures),
            # A trial saves itself; Tune's copy would go to `scratch`, which a trial on another node cannot see
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )


@final
class _Relay(tune.Callback):
    """Passes rows and changes of nodes to the listener, and ends of trials to the queue; notes faults."""

    def __init__(
        self,
        listener: Listener,
        outcome: Outcome,
        queue: TrialQueue,
        searcher: QueueSearcher,
        starting: StartWatch,
        lost: Lost,
    ) -> None:
        self._listener, self._outcome, self._queue, self._searcher = listener, outcome, queue, searcher
        self._starting, self._lost = starting, lost
        self._restarted: set[str] = set()
        self._watch = NodeWatch(ray.nodes, listener.message)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its state for its own resume, which is never used

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        # several times a second, also while a trial waits
        if lost := self._lost():
            raise RayLostError(f"Ray has lost {lost}")  # Tune would wait for another node
        leave_removed_directory(self._listener.message)
        self._watch()
        self._starting()

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        leave_removed_directory(self._listener.message)

    def end_all(self, fault: str) -> None:
        """Notes a fault that has ended every run that was training."""
        for key in self._searcher.end_all():
            self._outcome.faults[key] = fault
            self._queue.ended(key, fault)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        key = self._searcher.key(trial.trial_id)
        self._starting.began(key)
        for message in result["messages"]:
            self._listener.message(f"{key}: {message}")
        if result["notice"] and trial.trial_id in self._restarted:  # `resume` says it of a trial that begins
            self._listener.message(f"{key}: {result['notice']}")
        if result["fault"] is not None:
            self._outcome.faults[key] = result["fault"]
        elif result["replayed"]:
            self._listener.repeated(key, result["row"])
        else:
            trial.run_metadata.num_failures = 0  # only failures without a new iteration in between count
            self._listener.row(key, result["row"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        key = self._searcher.end(trial.trial_id)
        self._queue.ended(key, self._outcome.faults.get(key, ""))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        key = self._searcher.end(trial.trial_id)
        self._starting.began(key)
        detail = _error_text(trial)
        fault = self._outcome.faults.setdefault(key, last_line(detail))
        self._listener.message(f"{key}: failed for good")
        self._queue.ended(key, fault, detail)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._restarted.add(trial.trial_id)
        key = self._searcher.key(trial.trial_id)
        self._starting.expect(key)
        self._listener.message(f"{key}: failed; resuming from its newest checkpoint")


def leave_removed_directory(say: Callable[[str], None]) -> None:
    """Changes to / where the working directory was removed during training: Tune and others ask for it and fail."""
    try:
        os.getcwd()
    except FileNotFoundError:
        os.chdir("/")
        say("the working directory was removed; training continues without it")


@final
class _Stopper(tune.Stopper):
    """Stops a trial that has done enough, and all trials when the user asks. A trial saves before it stops."""

    def __init__(self, interrupt: Interrupt, queue: TrialQueue, searcher: QueueSearcher) -> None:
        self._interrupt, self._queue, self._searcher = interrupt, queue, searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as above

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        fresh = not result["replayed"] and result["fault"] is None
        enough = fresh and self._queue.enough(self._searcher.key(trial_id), result["row"])
        return enough or self._interrupt.asked.is_set()

    def stop_all(self) -> bool:
        return self._interrupt.asked.is_set()


def _error_text(trial: Any) -> str:
    """Returns Tune's record of a trial's failures, with tracebacks. Its `get_error` reads a copy made later."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8")
    except (OSError, TypeError):  # there is none
        return "failed"
