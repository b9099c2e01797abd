"""A contender's own process: builds it, then trains on request, one line of JSON each way.

    python -m benchmarks.peers.worker CONTENDER SETTINGS

A line with a number of observations on standard input is answered by one line on standard output. End of input: stop.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable

from benchmarks.peers.settings import Contender, Settings


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


def _ours(settings: Settings) -> Contender:
    from benchmarks.peers.ours import Ours

    return Ours(settings)


def _ours_without_noise(settings: Settings) -> Contender:
    from benchmarks.peers.ours import Ours

    return Ours(settings, noise=False)


def _ours_float32(settings: Settings) -> Contender:
    from benchmarks.peers.ours import Ours

    return Ours(settings, precision="float32")


def _ours_2_runners(settings: Settings) -> Contender:
    from benchmarks.peers.ours import Ours

    return Ours(settings, runners=2)


def _sb3_dummy(settings: Settings) -> Contender:
    from benchmarks.peers.sb3 import StableBaselines

    return StableBaselines(settings, processes=False)


def _sb3_subproc(settings: Settings) -> Contender:
    from benchmarks.peers.sb3 import StableBaselines

    return StableBaselines(settings, processes=True)


def _rllib_local(settings: Settings) -> Contender:
    from benchmarks.peers.rllib import StockRLlib

    return StockRLlib(settings)


def _rllib_2_runners(settings: Settings) -> Contender:
    from benchmarks.peers.rllib import StockRLlib

    return StockRLlib(settings, runners=2)


def _rllib_local_connectors(settings: Settings) -> Contender:
    from benchmarks.peers.rllib import StockRLlib

    return StockRLlib(settings, connectors=True)


def _rllib_2_runners_connectors(settings: Settings) -> Contender:
    from benchmarks.peers.rllib import StockRLlib

    return StockRLlib(settings, runners=2, connectors=True)


def _rllib_local_encoder(settings: Settings) -> Contender:
    from benchmarks.peers.rllib import StockRLlib

    return StockRLlib(settings, encoder=True)


def _rllib_2_runners_encoder(settings: Settings) -> Contender:
    from benchmarks.peers.rllib import StockRLlib

    return StockRLlib(settings, runners=2, encoder=True)


BUILDERS: dict[str, Callable[[Settings], Contender]] = {
    "ours": _ours,
    "ours-no-noise": _ours_without_noise,
    "ours-float32": _ours_float32,
    "ours-2-runners": _ours_2_runners,
    "sb3-dummy": _sb3_dummy,
    "sb3-subproc": _sb3_subproc,
    "rllib-local": _rllib_local,
    "rllib-2-runners": _rllib_2_runners,
    "rllib-local-connectors": _rllib_local_connectors,
    "rllib-2-runners-connectors": _rllib_2_runners_connectors,
    "rllib-local-encoder": _rllib_local_encoder,
    "rllib-2-runners-encoder": _rllib_2_runners_encoder,
}


def _die_with_parent() -> None:
    """Asks Linux to kill this process with its parent, even while it is stopped; elsewhere the end of input does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    sys.exit(main())
