"""Runs on clusters that lose nodes, on a network that is cut, and under a clock that jumps. Real Ray on one machine.

Kills at random moments are in benchmarks/kills.py.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from benchmarks.kills_results import measurements
from benchmarks.kills_run import ROOT, Run, cluster, settings
from rlgns.config.load import from_dict
from rlgns.monitor.wandb_transaction_log import history
from rlgns.storage.run_folder import RunFolder

pytestmark = pytest.mark.cluster
PATIENCE_S = 600


def write_settings(tmp_path: Path, *, iterations: int = 100_000, **sections: dict[str, Any]) -> Path:
    config = tmp_path / "small.yaml"
    config.write_text(
        yaml.safe_dump({name: {**keys, **sections.get(name, {})} for name, keys in settings(iterations).items()})
    )
    return config


def some_rows(run: Run, count: int = 3) -> int:
    """Waits for so many more rows; returns how many there are."""
    folder = RunFolder(run.folder)
    wanted = len(folder.rows()) + count
    while len(folder.rows()) < wanted:
        assert run.wait_for_a_row(beyond=run.size()), run.driver.returncode
    return wanted


def leave(driver: subprocess.Popen[Any]) -> int:
    driver.send_signal(signal.SIGINT)
    return driver.wait(timeout=PATIENCE_S)


def check_rows(folder: RunFolder) -> None:
    """Checks that every iteration is there once, with whole batches and all measurements."""
    config, rows = from_dict(folder.config()), folder.rows()
    assert [row["iteration"] for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert row["observations"] == config.rollout_observations * row["iteration"]
        assert row["noise/updates"] == measurements(config, row["iteration"])
        assert row["throughput/observations_per_s"] > 0
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds)


def test_the_head_dies_and_the_run_resumes_on_another_cluster(tmp_path: Path) -> None:
    config, out = write_settings(tmp_path), tmp_path / "run"
    with cluster() as nodes:
        run = Run(nodes, config, out, seed=0)
        before = some_rows(run)
        for process in run.family(nodes.head_node):
            with contextlib.suppress(psutil.Error):
                process.kill()
        code = run.driver.wait(timeout=PATIENCE_S)  # it cannot continue: its Ray is gone
        print(f"the driver left with exit code {code}")
        assert code != 0
    with cluster() as nodes:
        run = Run(nodes, config, out, seed=0)
        assert some_rows(run) > before
        assert leave(run.driver) == 130
    check_rows(RunFolder(out))


def test_a_node_dies_for_good_and_another_takes_its_runner(tmp_path: Path) -> None:
    config, out = write_settings(tmp_path), tmp_path / "run"
    with cluster() as nodes:
        run = Run(nodes, config, out, seed=0)
        some_rows(run)
        nodes.add_node(num_cpus=1, wait=False)  # the third
        run.kill("node", random.Random(0), start_another=False)
        began = time.monotonic()
        some_rows(run)
        print(f"three rows {time.monotonic() - began:.0f} s after the node's death")
        assert leave(run.driver) == 130
    told = out.with_suffix(".log").read_text()
    assert "cluster: new node" in told
    assert "cluster: lost node" in told
    check_rows(RunFolder(out))


def test_a_runner_ten_times_as_slow_only_slows_the_run(tmp_path: Path) -> None:
    config, out = write_settings(tmp_path), tmp_path / "run"
    with cluster() as nodes:
        run = Run(nodes, config, out, seed=0)
        some_rows(run)
        _, runner = run.parts("runner")[0]
        enough = threading.Event()

        def hold_back() -> None:
            while not enough.wait(0.005):
                runner.suspend()
                enough.wait(0.045)
                runner.resume()

        slow = threading.Thread(target=hold_back)
        slow.start()
        some_rows(run, 10)
        enough.set()
        slow.join()
        assert runner.is_running()  # a slow runner is not killed
        assert leave(run.driver) == 130
    check_rows(RunFolder(out))


@contextlib.contextmanager
def two_networks() -> Iterator[None]:
    """Network namespaces rlgns-a (10.77.0.1) and rlgns-b (10.77.0.2) with a cable between them."""
    commands = [
        "ip netns add rlgns-a",
        "ip netns add rlgns-b",
        "ip link add rlgns-a0 netns rlgns-a type veth peer name rlgns-b0 netns rlgns-b",
        "ip -n rlgns-a addr add 10.77.0.1/24 dev rlgns-a0",
        "ip -n rlgns-b addr add 10.77.0.2/24 dev rlgns-b0",
        *(f"ip -n rlgns-{end} link set {link} up" for end in "ab" for link in ("lo", f"rlgns-{end}0")),
    ]
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    try:
        for command in commands:
            subprocess.run(command.split(), check=True)
        yield
    finally:
        for end in "ab":
            subprocess.run(["ip", "netns", "del", f"rlgns-{end}"], check=False)


def inside(end: str, *command: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Starts python COMMAND in one of the namespaces."""
    variables = os.environ | {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"} | environment
    with open(log, "ab") as file:
        line = ["ip", "netns", "exec", f"rlgns-{end}", sys.executable, *command]
        return subprocess.Popen(line, env=variables, stdout=file, stderr=file, start_new_session=True)


def cut(down: bool) -> None:
    subprocess.run(f"ip -n rlgns-a link set rlgns-a0 {'down' if down else 'up'}".split(), check=True)


def end_session(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(psutil.Error):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.Error):
                member.kill()
    process.wait()


def rows_beyond(folder: RunFolder, driver: subprocess.Popen[bytes], count: int) -> float:
    """Waits until there are more rows than so many; returns the seconds that it took."""
    began = time.monotonic()
    while len(folder.rows()) <= count:
        assert driver.poll() is None and time.monotonic() - began < PATIENCE_S
        time.sleep(0.2)
    return time.monotonic() - began


BOTH_THERE = """
import sys, ray
ray.init(address="10.77.0.1:6399", log_to_driver=False)
sys.exit(sum(node["Alive"] for node in ray.nodes()) < 2)
"""


def test_a_cable_between_nodes_is_cut_for_a_moment_and_for_long(tmp_path: Path) -> None:
    config, folder = write_settings(tmp_path, engine={"sample_timeout_s": 20}), RunFolder(tmp_path / "run")
    log, started = tmp_path / "log", []
    ray = ("-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--object-store-memory=200000000")
    with two_networks(), tempfile.TemporaryDirectory(prefix="rlgns-ray-", ignore_cleanup_errors=True) as own:

        def node() -> subprocess.Popen[bytes]:
            where = ("--address=10.77.0.1:6399", "--node-ip-address=10.77.0.2", "--num-cpus=1")
            started.append(inside("b", *ray, *where, log=log))
            return started[-1]

        try:
            where = ("--head", "--port=6399", "--node-ip-address=10.77.0.1", "--num-cpus=2", f"--temp-dir={own}")
            started.append(inside("a", *ray, *where, "--include-dashboard=false", log=log))
            knock = ("-c", "import socket; socket.create_connection(('10.77.0.1', 6399))")
            while inside("a", *knock, log=log).wait():
                assert started[0].poll() is None
            second = node()
            while inside("a", "-c", BOTH_THERE, log=log).wait():
                assert second.poll() is None
            train = ("-m", "rlgns", "train", "--config", str(config), "--out", str(folder.path))
            driver = inside("a", *train, log=log, RAY_ADDRESS="10.77.0.1:6399")
            started.append(driver)
            rows_beyond(folder, driver, 3)
            there = [" ".join(process.cmdline()) for process in psutil.Process(second.pid).children(recursive=True)]
            assert any(title.startswith("ray::Atari") for title in there), "nothing of the run is behind the cable"
            cut(True)
            time.sleep(5)
            cut(False)
            print(f"next rows {rows_beyond(folder, driver, len(folder.rows()) + 1):.0f} s after a cut of 5 s")
            cut(True)
            time.sleep(90)  # the head gives the node up, and the node ends itself
            cut(False)
            end_session(second)
            node()
            print(
                f"next rows {rows_beyond(folder, driver, len(folder.rows()) + 1):.0f} s after a new node, cut for 90 s"
            )
            driver_process = psutil.Process(driver.pid)
            driver_process.send_signal(signal.SIGINT)
            assert driver.wait(timeout=PATIENCE_S) == 130
        finally:
            for process in reversed(started):
                end_session(process)
    check_rows(folder)


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
static long jump(void) {
    static volatile long *seconds;
    if (!seconds) seconds = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, open(getenv("CLOCK_JUMP"), O_RDONLY), 0);
    return *seconds;
}
int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) now->tv_sec += jump();
    return result;
}
time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}
"""
"""A clock that tests can set, for each process that loads it, not for the machine."""


def test_the_clock_jumps_an_hour_back_and_a_day_ahead(tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    (tmp_path / "clock.c").write_text(CLOCK)
    library, jump = tmp_path / "clock.so", tmp_path / "jump"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "clock.c", "-ldl"], check=True)
    jump.write_bytes((0).to_bytes(8, "little", signed=True))
    config, folder = write_settings(tmp_path, engine={"runners": 0}), RunFolder(tmp_path / "run")
    environment = os.environ | {"LD_PRELOAD": str(library), "CLOCK_JUMP": str(jump), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "rlgns", "train", "--config", str(config), "--out", str(folder.path)]
    with open(tmp_path / "log", "wb") as log:
        driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        rows_beyond(folder, driver, 20)
        saved = max(folder.checkpoints_path.iterdir())
        for seconds in (-3600, 86400):
            with jump.open("r+b") as file:
                file.write(seconds.to_bytes(8, "little", signed=True))
            rows_beyond(folder, driver, len(folder.rows()) + 50)
        while max(folder.checkpoints_path.iterdir()) == saved:  # checkpoints continue by a monotonic clock
            rows_beyond(folder, driver, len(folder.rows()))
        assert leave(driver) == 130
    finally:
        driver.kill()
    check_rows(folder)
    (path,) = folder.wandb_path.glob("offline-run-*/*.wandb")
    assert [row["_step"] for row in history(path)] == [row["iteration"] for row in folder.rows()]
    assert max(row["seconds"] for row in folder.rows()) < 3600
