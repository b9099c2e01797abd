"""The process of one contender: builds it, then trains on request, with one line of text each way.

    python -m benchmarks.peers.worker CONTENDER SETTINGS

A line with a number of observations on standard input is answered by one line of JSON on standard output. The process
ends with its input.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.peers.settings import Contender, Settings

Builder = Callable[[Settings], Contender]


def main() -> int:
    """Serves one contender until its input ends."""
    _die_with_parent()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints goes to the log
    name, settings = sys.argv[1], Settings.from_json(sys.argv[2])
    contender = BUILDERS[name](settings)
    print(json.dumps({"ready": name}), file=answers)
    for line in sys.stdin:
        began = time.perf_counter()
        report = contender.run(int(line))
        print(json.dumps({"seconds": time.perf_counter() - began, **report}), file=answers)
    contender.close()
    return 0


def _ours(**options: Any) -> Builder:
    def build(settings: Settings) -> Contender:
        from benchmarks.peers.ours import Ours

        return Ours(settings, **options)

    return build


def _ours_learner(settings: Settings) -> Contender:
    from benchmarks.peers.ours import LearnerAlone

    return LearnerAlone(settings)


def _limit(settings: Settings) -> Contender:
    from benchmarks.peers.limit import LimitContender

    return LimitContender(settings)


def _sb3(**options: Any) -> Builder:
    def build(settings: Settings) -> Contender:
        from benchmarks.peers.sb3 import StableBaselines

        return StableBaselines(settings, **options)

    return build


def _rllib(**options: Any) -> Builder:
    def build(settings: Settings) -> Contender:
        from benchmarks.peers.rllib import StockRLlib

        return StockRLlib(settings, **options)

    return build


BUILDERS: dict[str, Builder] = {
    "ours": _ours(),
    "ours-no-noise": _ours(noise=False),
    "ours-float32": _ours(precision="float32"),
    "ours-2-runners": _ours(runners=2),
    "ours-learner": _ours_learner,
    "limit": _limit,
    "sb3-dummy": _sb3(processes=False),
    "sb3-subproc": _sb3(processes=True),
    "rllib-local": _rllib(),
    "rllib-2-runners": _rllib(runners=2),
    "rllib-local-connectors": _rllib(connectors=True),
    "rllib-2-runners-connectors": _rllib(runners=2, connectors=True),
    "rllib-local-encoder": _rllib(encoder=True),
    "rllib-2-runners-encoder": _rllib(runners=2, encoder=True),
}
"""Each builder imports its trainer when it is called: a contender's process holds no other trainer's libraries."""


def _die_with_parent() -> None:
    """Asks Linux to kill this process with its parent, even while stopped; on other systems it ends with its input."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    sys.exit(main())
