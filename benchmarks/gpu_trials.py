"""Several trials on one GPU: what N of them train together, against what one trains alone.

`benchmarks.gpu` starts each trial as a separate process, with an equal share of the cores:

    python -m benchmarks.gpu_trials SIZE SECONDS          # SIZE: fields of sizes_worker.Size, JSON

It says when it is ready, waits for a line, and answers with its rates. So all trials of a round measure at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.sizes_worker import Size, Training

GAME = "pong"
WARM_UP = 4
"""Iterations before the clock starts, in which steps are recorded."""

START_S = 300.0
"""Seconds that a trial may take to start."""


def rates(size: Size, count: int, seconds: float) -> dict[str, float]:
    """Returns the observations per second of `count` trials together: playing and learning in turn, and learning alone.

    Raises:
        RuntimeError: A trial ended or did not answer.
    """
    cores = sorted(os.sched_getaffinity(0))
    shares = [set(cores[number::count] or cores) for number in range(count)]
    with contextlib.ExitStack() as started:
        trials = [started.enter_context(_process(size, seconds, share)) for share in shares]
        for trial in trials:
            _line(trial, START_S)
        for trial in trials:
            assert trial.stdin is not None
            trial.stdin.write(b"go\n")
            trial.stdin.flush()
        answers = [json.loads(_line(trial, START_S + 4 * seconds)) for trial in trials]
    return {name: sum(answer[name] for answer in answers) for name in answers[0]}


@contextlib.contextmanager
def _process(size: Size, seconds: float, cores: set[int]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "benchmarks.gpu_trials", json.dumps(dataclasses.asdict(size)), str(seconds)]
    root = str(Path(__file__).resolve().parents[1])
    process = subprocess.Popen(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _line(process: subprocess.Popen[bytes], timeout_s: float) -> bytes:
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], timeout_s)[0]:
        raise RuntimeError(f"a trial did not answer within {timeout_s:.0f} s")
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a trial ended with code {process.wait()}")
    return line


def main() -> None:
    """Is one trial."""
    size, seconds = Size(**json.loads(sys.argv[1])), float(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is no answer
    training = Training(size, GAME)
    for _ in range(WARM_UP):
        rollouts, _ = training.play()
        training.learn(rollouts, measured=True)
    print("ready", file=answers)
    sys.stdin.readline()
    each, found = size.num_envs * size.rollout_steps, {}
    for name, plays in (("playing and learning", True), ("learning", False)):
        began, iterations = time.perf_counter(), 0
        while time.perf_counter() - began < seconds or not iterations:
            rollouts = training.play()[0] if plays else rollouts
            training.learn(rollouts, measured=True)
            iterations += 1
        found[name] = iterations * each / (time.perf_counter() - began)
    print(json.dumps(found), file=answers)
    sys.stdin.read()  # keeps its memory until all trials are done
    training.close()


if __name__ == "__main__":
    main()
