"""The rehearsal of the benchmark for a GPU, on this machine's processor."""

import json
from pathlib import Path

import pytest

from benchmarks import gpu


def test_every_stage_runs(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    found = gpu.run(out, gpu.TINY)
    assert json.loads(out.read_text()) == json.loads(json.dumps(found))
    assert list(found) == list(gpu.STAGES)
    assert not [part["traceback"] for part in found.values() if "error" in part]
    # Without a GPU both sides are the processor; on one the goal is 1e-4.
    assert found["values"]["frames that differ"] == 0
    names = ("gradients", "Gram matrix", "weights after 4 steps", "products from factors against those of rows")
    assert all(found["values"][name] < 1e-4 for name in names)
    assert found["pong"]["finite"]
    assert all(rate > 0 for rate in found["emulators"].values())


def test_a_stage_that_fails_leaves_its_error_and_the_next_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(scale: gpu.Scale) -> dict[str, object]:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(gpu, "STAGES", {"first": fails, "second": lambda scale: {"fine": True}})
    found = gpu.run(tmp_path / "gpu.json", gpu.TINY)
    assert found["first"]["error"] == "RuntimeError: no kernel image"
    assert found["second"]["fine"]
