"""The benchmark's arithmetic, and one real run with everything shrunk."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path

import pytest

from benchmarks import throughput
from benchmarks.peers.ours import run_of
from benchmarks.peers.settings import Settings
from benchmarks.throughput_options import parse, settings_of
from benchmarks.throughput_page import tables
from benchmarks.throughput_processes import ContenderError, Process, environment_of
from benchmarks.throughput_results import Spread, Start, Turn, pairs, sign_test_rank, summarise
from rlgns.agents.compute import native
from rlgns.config.load import resolve


def turn(number: int, contender: str, rate: float) -> Turn:
    return Turn(round=number, contender=contender, observations=1000, seconds=1000 / rate, foreign_cores=0.1)


def test_ratios_are_formed_within_rounds_and_the_best_setting_is_the_reference() -> None:
    turns = [
        *(turn(number, "ours", rate) for number, rate in ((1, 600), (2, 300), (3, 900), (4, 700))),
        *(turn(number, "sb3-dummy", rate) for number, rate in ((1, 200), (2, 100), (3, 300))),
        *(turn(number, "sb3-subproc", rate) for number, rate in ((1, 150), (2, 150), (3, 150))),
    ]
    summary = summarise(turns)
    peer = "Stable-Baselines3 PPO"
    assert summary["settings"] == {peer: "sb3-dummy"}
    ratios = summary["ratios"][peer]
    # The machine was three times as fast in round 3 as in round 2: the rates spread, the paired ratio does not.
    assert (ratios["sb3-dummy"].low, ratios["sb3-dummy"].high) == pytest.approx((3, 3))
    assert ratios["sb3-dummy"].count == 3
    assert (ratios["sb3-subproc"].low, ratios["sb3-subproc"].median) == pytest.approx((2, 4))
    assert any("sb3-dummy (its best setting) | 3.00 | 3.00 to 3.00 | 3 |" in line for line in tables(summary))


def test_the_cost_of_the_noise_scale_is_extra_time() -> None:
    turns = []
    for number, machine in enumerate((1.0, 0.5, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0), start=1):
        turns += [turn(number, "ours", machine * 500), turn(number, "ours-no-noise", machine * 510)]
    summary = summarise(turns)
    assert summary["noise_riding_percent"].median == pytest.approx(2)
    assert summary["noise_riding_total_percent"] == pytest.approx((2, 2, 2))
    assert "noise_cost_percent" not in summary  # the cost of a probe is unknown: there was none
    assert any("median +2.0 % (95 % interval of the median +2.0 to +2.0" in line for line in tables(summary))
    assert any("too few rounds for an interval" in line for line in tables(summarise(turns[:8])))
    assert "noise_riding_cpu_percent" not in summary  # not measured
    busy = [dataclasses.replace(one, cpu_s=3.03 if one.contender == "ours" else 3.0) for one in turns]
    assert summarise(busy)["noise_riding_cpu_percent"] == pytest.approx((1, 1, 1))
    assert any("By processor time +1.0 % (+1.0 to +1.0)" in line for line in tables(summarise(busy)))


def test_the_cost_of_probes_follows_from_their_cadence_alone() -> None:
    """An iteration takes 2 s, 2.02 s with the noise scale and 4.02 s with a probe, which comes every 25 iterations."""

    def turns(probed: set[int]) -> list[Turn]:
        found = []
        for number in range(101):
            seconds = 2.02 + 2 * (number in probed)
            ours = turn(number, "ours", 1000 / seconds)
            found.append(
                dataclasses.replace(ours, probes=int(number in probed), probe_s=2 * (number in probed), probe_every=25)
            )
            found += [turn(number, "ours-no-noise", 500), turn(number, "sb3-dummy", 100)] if number else []
        return found

    for probed in ({0}, {0, 25, 50, 75, 100}, {1}):
        summary = summarise(turns(probed))
        assert summary["noise_riding_total_percent"] == pytest.approx((1, 1, 1))
        assert summary["noise_probe"] == pytest.approx({"seconds": 2, "every": 25, "percent": 4})
        assert summary["noise_cost_percent"] == pytest.approx((5, 5, 5))
        assert summary["rates"]["ours"].count == 100  # the warm-up turn does not count
    (line,) = [line for line in tables(summary) if "Cost of the noise scale" in line]
    assert "A probe takes 2.00 s, one in 25 iterations as `noise.overhead_budget` allows: +4.0 %" in line
    assert line.endswith("Both together +5.0 % (+5.0 to +5.0).")


def test_the_limit_is_compared_within_rounds_and_split_into_parts() -> None:
    details = {"env_rate": 2000.0, "learn_s": 1e-3, "inference_s": 5e-4, "limit": 500.0}
    rates = {"learn_rate": 1e11, "peak_rate": 4e11, "peak_limit": 800.0, "copy_rate": 1e10}
    turns = []
    for number, machine in enumerate((1.0, 0.5), start=1):
        made = {name: machine * value if "rate" in name else value for name, value in (details | rates).items()}
        report = {"observations": 1000, "seconds": 2 / machine, "foreign_cores": 0.0, "details": made}
        turns += [Turn.of(number, "limit", report), turn(number, "ours", machine * 400)]
    summary = summarise(turns)
    limit = summary["comparisons"]["the limit"]
    assert (limit.low, limit.high) == pytest.approx((0.8, 0.8))
    assert (summary["env_share"].low, summary["env_share"].high) == pytest.approx((0.2, 0.2))
    (line,) = [line for line in tables(summary) if line.startswith("- The limit")]
    assert "matrix products of all epochs 1000, of inference 500" in line
    assert "25 % of the" in line


def test_starts_are_compared_within_rounds() -> None:
    starts = [
        Start(round=number, contender=name, built_s=machine * seconds / 2, seconds=machine * seconds)
        for number, machine in enumerate((1.0, 3.0, 2.0), start=1)
        for name, seconds in (("ours", 9.0), ("rllib-local", 10.0))
    ]
    summary = summarise([], starts)
    assert summary["start_s"]["ours"].median == 18
    assert (summary["start_ratio"]["rllib-local"].low, summary["start_ratio"]["rllib-local"].high) == (0.9, 0.9)
    assert any("Start of ours: 18.0 s" in line and "9.0 s of it until built" in line for line in tables(summary))


def test_the_rank_of_many_values_is_near_the_normal_one() -> None:
    for count in (1000, 1085, 20_000):
        assert abs(sign_test_rank(count) - (count / 2 - 0.98 * math.sqrt(count))) < 2


def test_overhead_is_time_that_is_neither_sampling_nor_learning() -> None:
    report = {"observations": 64, "seconds": 3.0, "foreign_cores": 0.0}
    times = {"wall_s": [1.0, 2.0], "sample_s": [0.2, 0.5], "learn_s": [0.7, 1.3]}
    made = Turn.of(1, "ours", report | times)
    assert made.overhead_s == pytest.approx((0.1, 0.2))
    summary = summarise([made])
    assert summary["overhead_ms"].median == pytest.approx(150)
    assert summary["overhead_percent"].median == pytest.approx(10)
    assert Turn.of(1, "sb3-dummy", report).overhead_s == ()


def test_pairs_need_both() -> None:
    turns = [turn(1, "ours", 1), turn(2, "sb3-dummy", 1), turn(3, "ours", 2), turn(3, "sb3-dummy", 3)]
    assert [(ours.round, other.rate) for ours, other in pairs(turns, "ours", "sb3-dummy")] == [(3, pytest.approx(3))]


@pytest.mark.parametrize("count", range(1, 60))
def test_the_interval_of_the_median_has_its_coverage(count: int) -> None:
    def missed(skipped: int) -> float:
        """Exact probability that a median lies outside the values from `skipped` to `count - 1 - skipped`."""
        return 2 * sum(math.comb(count, below) for below in range(skipped + 1)) / 2**count

    skipped = sign_test_rank(count)
    assert 0 <= skipped <= (count - 1) // 2
    assert skipped == 0 or missed(skipped) <= 0.05
    assert missed(skipped + 1) > 0.05  # not one value wider than needed


def test_spread_of_one_value() -> None:
    spread = Spread.of([7.0])
    assert (spread.median, spread.low, spread.upper_quartile, spread.median_high) == (7, 7, 7, 7)


def test_a_failed_contender_is_reported_with_its_log(tmp_path: Path) -> None:
    settings = Settings(game="no_such_game", scratch=str(tmp_path))
    environment = environment_of("sb3-dummy", "PASSIVE")
    process = Process("no-such-contender", settings, environment=environment, timeout_s=60)
    with pytest.raises(
        ContenderError, match=r"no-such-contender ended with code 1; the end of its log:(.|\n)*KeyError"
    ):
        process.wait_until_ready()
    process.ask_to_end()
    process.end()


def test_all_contenders_take_the_first_rounds_and_few_the_others() -> None:
    names = ["ours", "sb3-dummy", "limit", "ours-no-noise"]
    rounds = throughput.schedule(names, rounds=30, pairs=50, seed=0)
    pair = ["ours", "ours-no-noise"]
    expected = [sorted([*pair, "limit"]) if number % 5 == 0 else pair for number in range(1, 21)]
    assert [sorted(members) for members in rounds] == [sorted(names)] * 30 + expected
    assert len({tuple(members) for members in rounds[30:] if len(members) == 2}) == 2  # every order occurs
    assert throughput.schedule(["ours", "sb3-dummy"], rounds=3, pairs=9, seed=0)[3:] == []


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["--only", "theirs"],
        ["--rounds", "0"],
        ["--game", "pongg"],
        ["--preset", "quick", "--only", "sb3-dummy"],
    ):
        with pytest.raises(SystemExit) as stopped:
            throughput.main(arguments)
        assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert "must be positive, got 0" in printed
    assert "--preset quick: peers train `ppo` only, got --only sb3-dummy" in printed


def test_another_preset_is_trained_by_ours_alone_with_its_sizes() -> None:
    options = parse(["--preset", "quick", "--epochs", "2"], "")
    assert set(options.only) == {"ours", "ours-no-noise", "ours-float32", "ours-2-runners", "ours-learner", "limit"}
    settings = settings_of(options, "")
    run, preset = run_of(settings), resolve(["quick"])
    assert run.agent.epochs == 2
    assert (run.rollout_observations, run.batch_observations) == (settings.rollout_observations, 256)
    assert run.network == preset.network
    assert run.env.image_size == preset.env.image_size
    assert run.agent.learning_rate == preset.agent.learning_rate
    plain = run_of(settings_of(parse([], ""), ""))
    assert plain.rollout_observations == 1024
    assert plain.network == resolve(["ppo"]).network


@pytest.mark.cluster
def test_another_checkout_runs_its_own_sources(tmp_path: Path) -> None:
    """Which say of themselves that they trained a thousand observations more."""
    for name in ("rlgns", "agents", "envs", "configs"):
        (tmp_path / name).symlink_to(throughput.ROOT / name)
    shutil.copytree(throughput.ROOT / "benchmarks", tmp_path / "benchmarks", ignore=shutil.ignore_patterns("dated"))
    worker = tmp_path / "benchmarks" / "peers" / "limit.py"
    worker.write_text(worker.read_text().replace('{"observations": ', '{"observations": 1000 + '))
    numbers = {"num_envs": 4, "rollout_steps": 8, "epochs": 1, "minibatches": 2}
    found = []
    for name, checkout in (("limit", throughput.ROOT), ("limit@before", tmp_path)):
        scratch = tmp_path / name
        scratch.mkdir()
        settings = Settings(**numbers, threads=2, scratch=str(scratch))  # type: ignore[arg-type]
        environment = environment_of(name, "default")
        process = Process(name, settings, environment=environment, timeout_s=120, checkout=checkout)
        try:
            process.wait_until_ready()
            found.append(process.turn(32)["observations"])
        finally:
            process.ask_to_end()
            process.end()
    assert found[1] == found[0] + 1000


def test_another_checkout_is_compared_in_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tmp_path / "before"
    with pytest.raises(SystemExit):
        parse(["--against", str(before)], "")
    assert "must be a checkout of rlgns, with benchmarks/peers/worker.py" in capsys.readouterr().err
    for folder in ("agents", "benchmarks/peers"):
        (before / folder).mkdir(parents=True)
    (before / "benchmarks" / "peers" / "worker.py").touch()
    if native.library() is not None:
        with pytest.raises(SystemExit):
            parse(["--against", str(before)], "")
        assert "has no compiled kernels, and this checkout has; run there: python -c" in capsys.readouterr().err
    (before / "agents" / "_kernels.abi3.so").touch()
    assert parse(["--against", str(before)], "").only == ["ours", "ours@before"]
    turns = []
    for number, machine in enumerate((1.0, 0.5, 2.0, 1.1, 1.2, 1.3), start=1):
        turns += [turn(number, "ours", 100 * machine), turn(number, "ours@before", 80 * machine)]
    (line,) = [line for line in tables(summarise(turns)) if line.startswith("- Time of this checkout")]
    assert line == (
        "- Time of this checkout against ours@before, the other checkout: median -20.0 % (95 % interval of the median "
        "-20.0 to -20.0, 6 paired rounds)."
    )
