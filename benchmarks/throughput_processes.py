"""Controls the contenders' processes: start, one turn, stop, end."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import psutil

from benchmarks.peers.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
SETTLE_S = 0.2
"""Pause after waking a contender, while its daemons catch up on heartbeats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Memory of a contender, bytes."""

    main: int
    """Resident in the process that learns."""
    main_peak: int
    """Peak of it."""
    processes: int
    """Number of processes, Ray's daemons included."""
    own: dict[str, int] = field(default_factory=dict)
    """By process: private memory, in RAM or swap. Pages of files, mainly libraries, are not included: the system
    divides them among the processes that map them, so a process's part grows when another process ends."""

    @property
    def all_own(self) -> int:
        """Private memory of all its processes."""
        return sum(self.own.values())


class ContenderError(Exception):
    """A contender ended or did not answer; the message has the end of its log."""


@final
class Process:
    """One contender with all its descendants, which are stopped (SIGSTOP) outside its turns.

    So neither spinning OpenMP threads nor Ray's daemons take time from the measured contender. If the benchmark itself
    is killed (SIGKILL), its contenders die with it, but agents of their Rays may remain, stopped.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        environment: dict[str, str],
        timeout_s: float,
        checkout: Path = ROOT,
    ) -> None:
        """Starts building the contender; `wait_until_ready` waits until it is built.

        `checkout`: whose sources run, with its own .venv if it has one. `NAME@ANYTHING` is its contender NAME.
        """
        self.name = name
        self._timeout_s = timeout_s
        self._log = Path(settings.scratch) / "log"
        self._began = time.perf_counter()
        own_python = checkout / ".venv" / "bin" / "python"
        python = str(own_python) if checkout != ROOT and own_python.exists() else sys.executable
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [python, "-m", "benchmarks.peers.worker", name.partition("@")[0], settings.to_json()],
                cwd=checkout,
                env={**environment, "PYTHONPATH": str(checkout)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the benchmark alone, which then ends its contenders
            )
        self._stopped: list[psutil.Process] = []
        self._family_at_end: list[psutil.Process] = []

    def wait_until_ready(self) -> None:
        """Waits until the contender is built. Raises ContenderError."""
        self._answer()

    def turn(self, observations: int) -> dict[str, Any]:
        """Wakes the contender, lets it train, and stops it again.

        Returns:
            The contender's report, with cpu_s, CPU seconds of all its processes, and foreign_cores, the cores that
            everything else on the machine kept busy meanwhile.
        """
        self.wake()
        time.sleep(SETTLE_S)
        before, busy, began = self._cpu_s(), _busy_s(), time.perf_counter()
        self._ask(observations)
        report = self._answer()
        wall_s, busy_s, cpu_s = time.perf_counter() - began, _busy_s() - busy, self._cpu_s() - before
        self.pause()
        return {**report, "cpu_s": cpu_s, "foreign_cores": max(0.0, (busy_s - cpu_s) / wall_s)}

    def first_turn(self, observations: int) -> tuple[float, float]:
        """Lets a contender train as soon as it is built.

        Returns:
            Seconds from the start of its process until it was built, and until the end of that training.
        """
        self._ask(observations)
        self._answer()
        built_s = time.perf_counter() - self._began
        self._answer()
        return built_s, time.perf_counter() - self._began

    def memory(self) -> Memory:
        """Measures the contender's memory now; its processes may be stopped."""
        count, own = 0, Counter[str]()
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                own[_short_name(process)] += _own_bytes(process)
                count += 1
        with contextlib.suppress(psutil.NoSuchProcess):
            main = psutil.Process(self._process.pid).memory_info().rss
            peak = _peak_bytes(self._process.pid) or main
            return Memory(main=main, main_peak=peak, processes=count, own=dict(own))
        raise ContenderError(f"{self.name} ended{self._end_of_log()}")

    def pause(self) -> None:
        """Stops every process of the contender, parents first, so that none is started meanwhile."""
        self._stopped = self._family()
        for process in self._stopped:
            _signal(process, signal.SIGSTOP)

    def wake(self) -> None:
        """Continues every process of the contender."""
        for process in reversed(self._stopped):
            _signal(process, signal.SIGCONT)
        self._stopped = []

    def ask_to_end(self) -> None:
        """Wakes the contender and tells it to end by itself."""
        self.wake()
        self._family_at_end = self._family()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def end(self, *, grace_s: float = 20.0) -> None:
        """Waits for a contender that was asked to end, then kills what is left of it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_s)
        for process in self._family_at_end:  # psutil compares start times: never another process with the same id
            _signal(process, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _family(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _cpu_s(self) -> float:
        total = 0.0
        for process in self._family():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def _ask(self, observations: int) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # reading the answer then fails with the log
            self._process.stdin.write(f"{observations}\n".encode())
            self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], self._timeout_s)[0]:
            raise ContenderError(f"{self.name} did not answer within {self._timeout_s:.0f} s{self._end_of_log()}")
        line = self._process.stdout.readline()
        if not line:
            raise ContenderError(f"{self.name} ended with code {self._process.wait()}{self._end_of_log()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end_of_log(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-15:]
        return "; the end of its log:\n" + "\n".join(lines) if lines else ""


def environment_of(name: str, peers_omp: str) -> dict[str, str]:
    """Returns a contender's environment, with OMP_WAIT_POLICY PASSIVE for ours, `peers_omp` (or unset) for peers."""
    kept = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "OMP_WAIT_POLICY")}
    policy = "PASSIVE" if name.startswith(("ours", "limit")) else peers_omp
    return kept if policy == "default" else {**kept, "OMP_WAIT_POLICY": policy}


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _short_name(process: psutil.Process) -> str:
    """Returns the program, or the script or module that Python runs."""
    words = process.cmdline() or [process.name()]
    script = next((word for word in words[1:4] if word.endswith(".py")), None)
    module = words[words.index("-m") + 1] if "-m" in words[:4] else None
    return module or Path(script or words[0]).name


def _own_bytes(process: psutil.Process) -> int:
    """Returns anonymous, shared and swapped memory, with shared pages divided among processes; elsewhere USS."""
    fields = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(fields))
    return int(process.memory_full_info().uss)


def _peak_bytes(pid: int) -> int:
    """Returns Linux's high-water mark of a process's resident memory; 0 where there is none."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    return 0


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))
