"""The process of one piece of the comparison.

    python -m benchmarks.host_runs.worker PIECE RUN FILE

PIECE is sb3, rllib, ours, same or calibrate; RUN is a HostRun as JSON; what is found goes to FILE.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.host_runs.settings import HostRun


def measure(piece: str, run: HostRun) -> Any:
    """Measures one piece: rows, or the numbers of brute force. Each piece imports its host alone."""
    if piece == "sb3":
        from benchmarks.host_runs.sb3 import run_sb3

        return run_sb3(run)
    if piece == "rllib":
        from benchmarks.host_runs.rllib import run_rllib

        return run_rllib(run)
    if piece == "same":
        from benchmarks.host_runs.same_rollouts import same_rollouts

        return same_rollouts(run)
    from benchmarks.host_runs.ours import calibrate, run_ours

    if piece == "calibrate":
        return calibrate(run.checkpoint, run.iterations)
    with tempfile.TemporaryDirectory() as folder:
        return run_ours(run, Path(folder) / "run")


def main() -> None:
    """Measures, and writes rows, seconds of processor time and wall time."""
    piece, text, file = sys.argv[1:]
    run = HostRun(**json.loads(text))
    if piece in ("sb3", "rllib", "same"):
        import torch

        torch.set_num_threads(1)
    began = time.perf_counter()
    found = measure(piece, run)
    seconds = {"wall_s": time.perf_counter() - began, "processor_s": sum(os.times()[:4])}
    partial = Path(file).with_suffix(".partial")
    partial.write_text(json.dumps({"piece": piece, "run": json.loads(text), **seconds, "found": found}))
    os.replace(partial, file)


if __name__ == "__main__":
    main()
