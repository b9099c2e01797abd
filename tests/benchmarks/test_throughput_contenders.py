"""The throughput benchmark with real contenders, in processes of their own."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import psutil
import pytest

from benchmarks import throughput
from benchmarks.peers.settings import Settings
from benchmarks.throughput_processes import Process, environment_of

pytestmark = pytest.mark.cluster


def test_starts_and_memory_of_a_contender_are_measured(tmp_path: Path) -> None:
    settings = Settings(num_envs=4, rollout_steps=8, epochs=1, minibatches=2, threads=2, scratch=str(tmp_path))
    process = Process("limit", settings, environment=environment_of("limit", "default"), timeout_s=120)
    try:
        built_s, seconds = process.first_turn(32)
        memory = process.memory()
    finally:
        process.ask_to_end()
        process.end()
    assert 0 < built_s < seconds
    assert 1e8 < memory.main <= memory.main_peak
    assert memory.processes == 1
    assert memory.all_own == memory.own["benchmarks.peers.worker"]
    assert list(memory.own) == ["benchmarks.peers.worker"]
    assert 1e7 < memory.own["benchmarks.peers.worker"] < memory.main  # without torch's libraries


def test_a_tiny_run_of_real_contenders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer = "sb3-dummy" if importlib.util.find_spec("stable_baselines3") else "rllib-local"  # of the extra `bench`
    page, raw = tmp_path / "page.md", tmp_path / "raw.json"
    numbers = {"rounds": 1, "pairs": 1, "observations": 33, "envs": 4, "steps": 8, "epochs": 1, "minibatches": 2}
    sizes = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    files = ["--markdown", str(page), "--json", str(raw), "--starts", "0", "--memory-minutes", "0"]
    assert throughput.main([*sizes, "--only", "ours", peer, *files]) == 0
    printed = capsys.readouterr()
    assert page.read_text() == printed.out.removesuffix("\n")
    assert f"built      {peer}" in printed.err
    content = json.loads(raw.read_text())
    contenders = sorted(["ours", peer])
    assert sorted(entry["contender"] for entry in content["turns"] if entry["round"]) == contenders
    assert sum(entry["probes"] for entry in content["turns"] if not entry["round"]) == 1
    for entry in content["turns"]:
        assert entry["observations"] == 64  # whole iterations of 32
        assert entry["seconds"] > 0
        assert len(entry["overhead_s"]) == (2 if entry["contender"] == "ours" else 0)
    assert list(content["summary"]["settings"].values()) == [peer]
    assert "RLlib's own overhead" in printed.out
    assert sorted(content["memory"]) == contenders
    assert content["memory"]["ours"]["main"] > content["resident"]["libraries"] > 0
    goals = {row["what"]: row["verdict"] for row in content["goals"]}
    assert goals["memory, all processes' own"] == "stated"
    assert sum("not measured" in verdict for verdict in goals.values()) >= 3  # the limit and starts, for example
    left = [child for child in psutil.Process().children(recursive=True) if "benchmarks.peers" in _command(child)]
    assert left == []


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
