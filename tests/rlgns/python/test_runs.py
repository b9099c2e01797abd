"""A loaded run: arrays by key, configuration, mistakes in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import rlgns
from tests.rows import make_null_row, make_probed_row, make_row, make_run


@pytest.fixture
def run(tmp_path: Path) -> rlgns.Run:
    rows = [make_null_row(1), *(make_row(i) for i in range(2, 40)), make_probed_row(40)]
    make_run(tmp_path / "run", rows, seed=7)
    return rlgns.load_run(tmp_path / "run")


def test_a_key_is_an_array_with_nan_for_null(run: rlgns.Run) -> None:
    scale = run["noise/scale"]
    assert scale.dtype == np.float64 and scale.shape == (40,)
    assert [None if np.isnan(x) else x for x in scale] == [row["noise/scale"] for row in run.rows]
    assert run["observations"].dtype == np.float64
    assert run["noise/resolved"].dtype == np.bool_ and run["noise/resolved"].sum() == 20
    assert np.isfinite(scale[run["noise/resolved"]]).all()
    assert set(run["game"]) == {"pong"}


def test_a_key_that_few_rows_have_is_nan_elsewhere(run: rlgns.Run) -> None:
    policy = run["noise/policy/scale"]
    assert np.isnan(policy[:-1]).all() and policy[-1] == run.rows[-1]["noise/policy/scale"]


def test_it_is_a_table_of_arrays(run: rlgns.Run) -> None:
    arrays = dict(run)
    assert list(arrays) == run.keys() == list(run)
    assert {array.shape for array in arrays.values()} == {(40,)}
    assert "score_mean" in run and "noise/ladder" not in run and "score" not in run


def test_what_else_it_knows(run: rlgns.Run, tmp_path: Path) -> None:
    assert (run.path, run.game, run.config.run.seed, run.about["preset"]) == (tmp_path / "run", "pong", 7, "quick")
    assert run.config.env.protocol == "baselines"
    assert repr(run) == f"Run(path={run.path!r}, game='pong')"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("noise/scales", "noise/scales: unknown key (did you mean noise/scale?); docs/metrics.md lists all"),
        ("noise/ladder", "noise/ladder: its values are lists; take them from run.rows"),
        (0, "0: unknown key; docs/metrics.md lists all"),
    ],
)
def test_an_unknown_key_is_a_mistake_in_one_line(run: rlgns.Run, key: str, words: str) -> None:
    with pytest.raises(rlgns.UserError) as caught:
        run[key]
    assert str(caught.value) == words


def test_no_run_and_several_runs(tmp_path: Path) -> None:
    with pytest.raises(rlgns.UserError, match="no run found in"):
        rlgns.load_run(tmp_path)
    for name in ("a", "b"):
        make_run(tmp_path / name, [make_row(1)])
    with pytest.raises(rlgns.UserError, match=r"holds 2 runs \(a, b\): load one of them, or all by rlgns.load_runs"):
        rlgns.load_run(tmp_path)
    assert [(name, run.path) for name, run in rlgns.load_runs(tmp_path).items()] == [
        ("a", tmp_path / "a"),
        ("b", tmp_path / "b"),
    ]


def test_a_damaged_file_is_a_mistake_in_one_line(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [make_row(1)])
    with folder.metrics_path.open("a") as file:
        file.write('{"iteration": 2, "noise/scale": "x"}\n')
    with pytest.raises(rlgns.UserError, match=r"line 2: noise/scale: 'x' is not a number"):
        rlgns.load_run(folder.path)


def test_a_run_without_rows_knows_nothing(tmp_path: Path) -> None:
    make_run(tmp_path / "run", [])
    empty = rlgns.load_run(tmp_path / "run")
    assert empty["noise/scale"].shape == (0,) and empty.keys() == []
    assert str(empty.estimate()).startswith("Critical batch not known yet.")
