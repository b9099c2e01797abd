"""`rlgns sweep` as a user runs it: killed, interrupted and resumed, with real Ray, Tune and Atari."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import yaml

from benchmarks import sweep_kills
from rlgns.storage.checkpoint import newest_whole
from rlgns.storage.sweep_folder import SweepFolder


@pytest.mark.cluster
def test_a_sweep_that_is_killed_and_interrupted_ends_as_planned(tmp_path: Path) -> None:
    config, out = tmp_path / "small.yaml", tmp_path / "sweep"
    small = {**sweep_kills.SWEEP, "sweep": {"batches": [32], "goals": [2, 3], "learning_rates": 3}}
    config.write_text(yaml.safe_dump(small))

    process = sweep_kills.start(config, out)
    assert sweep_kills.until(process, ": used up its observations") is not None
    assert sweep_kills.kill_all(process) > 3
    runs, rows = sweep_kills.rows_of(out)
    assert runs >= 1
    assert rows >= 8

    for number, code in ((signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        process = sweep_kills.start(config, out)
        assert sweep_kills.until(process, ": resumes", ": begins") is not None
        process.send_signal(number)
        stdout, stderr = process.communicate()
        assert process.returncode == code, stderr
        assert "Traceback" not in stderr
        assert f"saved; resume with: rlgns sweep --resume {out}" in stderr
        assert f"points: {out / 'points.csv'}" in stdout
        saved = SweepFolder(out)
        assert all(run.last_iteration() == newest_whole(run.checkpoints_path) for run in saved.runs() if run.rows())
        assert not [path for path in out.rglob("*") if ".partial" in path.name or path.name.endswith(".tmp")]

    process = sweep_kills.start(config, out, resume=True)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert sweep_kills.problems(config, out) == []
    assert "3 of 3 trials done, 3 out of budget" in stderr
    assert "not reached" in stdout
    assert SweepFolder(out).report_path.is_file()
