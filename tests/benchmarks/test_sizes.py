"""Cost against size: the configurations, the arithmetic on times, and one real size."""

import csv
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import sizes
from benchmarks.sizes import ALL, FEW, Point
from benchmarks.sizes_worker import FEWEST_ROUNDS, Size


def test_every_size_is_a_configuration_with_one_thing_varied() -> None:
    for size, value in zip(sizes.sizes(ALL), (value for axis in ALL.values() for value in axis), strict=True):
        run = size.run("pong")
        found = {"environments": run.env.num_envs, "batch": run.batch_observations, "groups": run.groups_per_batch}
        assert found[size.sweep] == value
        kept = {
            "environments": (run.rollout_observations, run.batch_observations) == (2048, 512),
            "batch": (run.env.num_envs, run.groups_per_batch, run.agent.minibatches) == (64, 8, 1),
            "groups": (run.env.num_envs, run.batch_observations) == (128, 1024),
        }
        assert kept[size.sweep], size
    assert all(set(FEW[sweep]) <= set(ALL[sweep]) for sweep in FEW)


def test_overhead_is_relative_to_the_whole_iteration_and_paired() -> None:
    size = {"sweep": "batch", "num_envs": 64, "rollout_steps": 4, "minibatches": 1, "groups": 8}
    times = {
        "play_s": [1.0, 2.0, 1.0],
        "on_s": [3.1, 6.4, 3.2],
        "off_s": [3.0, 6.0, 3.0],
    }  # the machine slowed down once
    point = Point.of({**size, **times, "start_s": 1.0, "peak_bytes": 5e8})
    assert (point.overhead_percent, point.overhead_low, point.overhead_high) == pytest.approx((5, 2.5, 5))
    assert point.observations_per_s_off == pytest.approx(256 / 4)
    assert point.observations_per_s_on == pytest.approx(256 / 4.2)
    assert (point.rounds, point.peak_mb, point.at) == (3, 500, 256)


def test_a_real_size_is_measured(tmp_path: Path) -> None:
    size = Size(sweep="groups", num_envs=4, rollout_steps=4, minibatches=1, groups=2)
    point = sizes.measure(size, 0.0, "pong")
    assert (point.at, point.batch_observations, point.rounds) == (2, 16, FEWEST_ROUNDS)
    assert 0 < point.observations_per_s_on < 1e6
    assert point.peak_mb > 100  # torch alone
    sizes.write_csv([point], tmp_path / "sizes.csv")
    (row,) = csv.DictReader((tmp_path / "sizes.csv").open())
    assert (row["sweep"], row["groups"], row["rounds"]) == ("groups", "2", "2")
    assert float(row["peak_mb"]) == pytest.approx(point.peak_mb, rel=1e-3)
    assert f"| groups | 4 | 4 | 16 | 2 | {point.observations_per_s_off:,.0f} |" in sizes.table([point])[-1]


def test_the_page_names_the_command_and_links_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"start_s": 1.0, "peak_bytes": 1e9, "play_s": [1.0], "on_s": [3.0], "off_s": [3.0]}

    def measure(size: Size, seconds: float, game: str) -> Point:
        if size.groups == 64:
            raise subprocess.CalledProcessError(-9, "worker")
        return Point.of({**asdict(size), **times})

    monkeypatch.setattr(sizes, "measure", measure)
    words = ["--only", "batch", "groups", "--most", "300", "--seconds", "1"]
    files = ["--csv", str(tmp_path / "points.csv"), "--markdown", str(tmp_path / "page.md")]
    assert sizes.main([*words, *files]) == 1
    made = (tmp_path / "page.md").read_text()
    assert "-m benchmarks.sizes --only batch groups --most 300" in made
    assert "[points.csv](points.csv)" in made
    assert '"groups": 64} ended with code -9' in made  # and the other sizes are there
    assert "![" not in made  # no figure was asked for
    rows = list(csv.DictReader((tmp_path / "points.csv").open()))
    assert [(row["sweep"], row["batch_observations"], row["groups"]) for row in rows] == [
        ("batch", "256", "8"),
        ("groups", "1024", "2"),
        ("groups", "1024", "8"),
    ]


def test_the_figure_has_a_column_for_each_axis(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made = {"batch_observations": 256, "observations_per_s_off": 1e3, "observations_per_s_on": 900.0, "peak_mb": 500.0}
    overhead = {"overhead_percent": 1.0, "overhead_low": 0.0, "overhead_high": 2.0, "rounds": 3, "start_s": 1.0}
    points = [
        Point(sweep=sweep, num_envs=64 * factor, rollout_steps=4, groups=2 * factor, **made, **overhead)
        for sweep in FEW
        for factor in (1, 2)
    ]
    sizes.figure(points, tmp_path / "sizes.svg")
    drawn = (tmp_path / "sizes.svg").read_text()
    for label in ("batch, observations", "environments", "groups", "peak memory, MB", "noise scale off"):
        assert label in drawn
