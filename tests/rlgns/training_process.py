"""`rlgns train` in a process of the tests: a tiny run, started and watched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rlgns.storage.run_folder import RunFolder

TINY = {
    "run": {"observations": 100_000},
    "env": {"num_envs": 4, "image_size": 32, "stagger_steps": 4},
    "network": {"channels": [4], "kernels": [8], "strides": [8], "hidden": 16},
    "agent": {"rollout_steps": 64, "epochs": 1, "minibatches": 2},
    "engine": {"checkpoint_every_s": 1000},
    "output": {"log_every_s": 0},  # W&B gets every row
}


def start(
    tmp_path: Path, *arguments: str, own_group: bool = False, cwd: Path | None = None, **sections: dict[str, object]
) -> subprocess.Popen[str]:
    """Starts `rlgns ARGUMENTS` with the tiny configuration (unless it resumes); standard error is read line by line."""
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump({name: {**keys, **sections.get(name, {})} for name, keys in TINY.items()}))
    command = [sys.executable, "-m", "rlgns", *arguments]
    if "--resume" not in arguments:
        command += ["--config", str(config)]
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        process_group=0 if own_group else None,
        cwd=cwd,
    )


def until_a_row(process: subprocess.Popen[str]) -> None:
    """Reads standard error until a line reports an iteration."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if " observations, score" in line:
            return
    pytest.fail("training ended before its first iteration:\n" + "".join(seen))


def iterations(folder: Path) -> list[int]:
    return [row["iteration"] for row in RunFolder(folder).rows()]


def still_runs(process: subprocess.Popen[str], patience_s: float = 0.05) -> bool:
    """Returns whether a process runs, after so many seconds: who asks again and again leaves the core to it."""
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        return True
    return False
