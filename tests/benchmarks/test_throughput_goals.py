"""The table of goals: verdicts, the growth of memory, and rows that only a GPU fills."""

import dataclasses

import numpy as np
import pytest
from scipy.signal import lfilter

from benchmarks.throughput_goals import NOT_MEASURED, Row, goal_rows, goal_table, judge
from benchmarks.throughput_memory import BLOCKS, Growth, by_process_line, explanation, growth, growth_line, memory_table
from benchmarks.throughput_processes import Memory
from benchmarks.throughput_results import Turn, summarise

NUM_DRAWS = 300
TOO_MANY_BLOCKS = 200


def turn(number: int, contender: str, rate: float, **details: float) -> Turn:
    return Turn(
        round=number, contender=contender, observations=1000, seconds=1000 / rate, foreign_cores=0.0, details=details
    )


def turns() -> list[Turn]:
    limit = {"env_rate": 25_000.0, "peak_limit": 30_000.0, "learn_s": 1e-5, "inference_s": 1e-6}
    limit |= {"learn_rate": 1e11, "peak_rate": 2e11}
    made = [dataclasses.replace(turn(0, "ours", 10_000), probes=1, probe_every=1000)]
    for number in range(1, 9):
        made += [
            dataclasses.replace(turn(number, "ours", 21_000), probe_every=1000),
            turn(number, "ours-no-noise", 21_100),
            turn(number, "ours-learner", 70_000),
            turn(number, "limit", 28_000, **limit),
            turn(number, "sb3-dummy", 6_000),
            turn(number, "rllib-local-encoder", 4_000),
        ]
    return made


def rows(gpu: str, found: Growth | None = None) -> dict[str, Row]:
    memory = {"ours": Memory(main=5, main_peak=6, processes=9, own={"learner": 9 * 10**8, "raylet": 10**8})}
    memory["sb3-dummy"] = Memory(main=5, main_peak=6, processes=1, own={"learner": 2 * 10**9})
    made = goal_rows(summarise(turns()), gpu=gpu, memory=memory, held=10**8, growth=found)
    return {row.what: row for row in made}


def test_every_goal_has_a_row_measured_or_not() -> None:
    found = rows("")
    assert found["Stable-Baselines3 PPO, its best setting"].verdict == "met"
    assert found["RLlib PPO as it comes, its best setting"].verdict == "not met"  # 5.25 times
    assert found["the limit"].measured == "0.75"
    assert found["time that the noise scale adds, %"].verdict == "met"
    assert found["2 remote runners against local mode, equal cores"].verdict == NOT_MEASURED
    assert found["memory, all processes' own"].measured == "1,000 MB"
    assert found["memory, all processes' own"].spread == "peers: sb3-dummy 2,000 MB"
    without = [row for row in found.values() if row.verdict == NOT_MEASURED]
    assert sum("a GPU" in row.what for row in without) == 3
    assert all(row.measured == NOT_MEASURED for row in without)
    assert len(goal_table(list(found.values()))) == 2 + len(found)


def test_a_gpu_fills_its_rows() -> None:
    found = {what: row for what, row in rows("NVIDIA H200").items() if "NVIDIA H200" in what}
    assert [(row.measured, row.verdict) for row in found.values()] == [
        ("3.09", "met"),  # times LeanRL
        ("0.84", "not met"),  # of the environments alone
        ("10.29", "met"),  # the learner alone
    ]


@pytest.mark.parametrize(
    ("low", "value", "high", "at_least", "at_most"),
    [(2.0, 3.0, 4.0, "met", "not met"), (0.2, 0.3, 0.4, "not met", "met"), (0.5, 1.5, 2.0, "met", "not met")],
)
def test_a_goal_inside_the_interval_is_open(low: float, value: float, high: float, at_least: str, at_most: str) -> None:
    is_open = low < 1 < high
    for found, expected in (
        (judge(value, low, high, at_least=1.0), at_least),
        (judge(value, low, high, at_most=1.0), at_most),
    ):
        assert found == (f"open ({expected} by the estimate)" if is_open else expected)


def test_growth_is_open_until_memory_was_watched_long_enough() -> None:
    short = Growth(minutes=2, samples=100, bytes_per_hour=2e6, low=-1e6, high=4e6, first=1e9, last=1.001e9)
    what = "growth of that memory, MB an hour"
    assert rows("", short)[what].verdict == "open (2 of 120 minutes)"
    long = dataclasses.replace(short, minutes=121)
    assert rows("", long)[what].verdict == "met"
    leak = dataclasses.replace(long, bytes_per_hour=8e6, low=6e6, high=10e6)  # 5 MB an hour are 1 % in two hours
    assert rows("", leak)[what].verdict == "not met"
    assert rows("", dataclasses.replace(leak, low=4e6))[what].verdict == "open (not met by the estimate)"
    assert "slope +2.0 MB an hour (95 % interval -1.0 to +4.0, 100 samples)" in growth_line("ours", short)
    assert growth([0.0, 1.0], [5.0, 6.0]) is None


def test_memory_is_listed_by_process_largest_first() -> None:
    own = [{"raylet": 10_000_000, "learner": 10**9 + number * 10**6} for number in range(40)]
    own[-1]["late"] = 4_000_000
    line = by_process_line(own)
    assert line == (
        "- By process, MB, first block and last: learner 1,000.5, 1,038.5; raylet 10.0, 10.0; late 0.0, 2.0."
    )


def walk(rng: np.random.Generator, slope: float) -> tuple[list[float], list[float]]:
    """Memory that grows by `slope` bytes a second under autocorrelated errors: r = 0.9, samples 1 s apart."""
    errors = lfilter([1.0], [1.0, -0.9], rng.standard_normal(2000))
    at = np.arange(2000.0)
    return list(at), list(1e6 + slope * at + 1000 * errors)


def test_the_slope_covers_the_truth_and_short_blocks_would_not() -> None:
    rng = np.random.default_rng(0)
    covered = {BLOCKS: 0, TOO_MANY_BLOCKS: 0}
    for _ in range(NUM_DRAWS):
        at, held = walk(rng, slope=1.0)
        for blocks in covered:
            found = growth(at, held, blocks=blocks)
            assert found is not None
            covered[blocks] += found.low <= 3600 <= found.high
    error = np.sqrt(NUM_DRAWS * 0.95 * 0.05)
    assert abs(covered[BLOCKS] - 0.95 * NUM_DRAWS) < 4 * error
    assert covered[TOO_MANY_BLOCKS] < 0.95 * NUM_DRAWS - 4 * error  # the twin whose blocks hang together


def test_memory_is_listed_by_stage() -> None:
    resident = {"libraries": 300_000_000, "client of Ray": 320_000_000, "all iterations": 700_000_000}
    lines = explanation(resident, {"rollout": 7_000_000, "network": 6_700_000})
    assert "libraries +300; client of Ray +20; all iterations +380" in lines[0]
    assert "rollout 7.0, network 6.7; together 14" in lines[1]
    held = Memory(main=1, main_peak=750_000_000, processes=8, own={"learner": 700_000_000, "raylet": 200_000_000})
    assert memory_table({"ours": held})[-1] == "| ours | 750 | 900 | 8 |"
