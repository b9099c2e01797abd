"""What an update and a probe ask a GPU for and copy to it: recorded numbers, without a GPU (`fake_gpu.py`).

An `.item()`, an `if` on a tensor or a `.cpu()` in a step stalls the device in every step, and so does a copy from the
host, which waits for what was launched before. A new one must be meant:

    RLGNS_WRITE_GOLDEN=1 python -m pytest -n 0 tests/rlgns/engine/test_fake_gpu.py
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.gloo import run_worker

GOLDEN = Path(__file__).parents[2] / "golden" / "gpu_traffic.json"

pytestmark = pytest.mark.skipif(
    torch.version.cuda is not None or sys.platform != "linux", reason="for torch's CPU build on Linux"
)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("traffic")
    run_worker("tests.rlgns.engine.fake_gpu", folder)
    found: dict[str, Any] = json.loads((folder / "traffic.json").read_text())
    return found


def test_waits_are_seen_and_the_device_chooses_the_branches_without(seen: dict[str, Any]) -> None:
    branches = seen["branches"]
    for name in ("clip", "gather"):
        assert branches[f"{name}, waits True"] > 0
        assert branches[f"{name}, waits False"] == branches[f"{name}, waits None"] == 0


def test_an_update_is_given_two_copies_and_asked_for_one(seen: dict[str, Any]) -> None:
    """The rollouts and all batches; what all steps report, with the products that were measured."""
    for update in ("update", "update by loss"):
        assert seen["bfloat16"][update]["uploads"] == {"upload.py:Upload.__call__": 2}
        assert seen["bfloat16"][update]["waits"] == {"optimizer_steps.py:OptimizerSteps.finish": 1}


def test_traffic_is_what_was_recorded(seen: dict[str, Any]) -> None:
    found = seen["bfloat16"]
    if os.environ.get("RLGNS_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    recorded = json.loads(GOLDEN.read_text())
    assert found.keys() == recorded.keys()
    for part, kinds in found.items():
        for kind in ("waits", "uploads"):
            assert kinds[kind] == recorded[part][kind], f"{kind} of {part}"
        now, before = (sum(counts["launches"].values()) for counts in (kinds, recorded[part]))
        assert now <= 1.02 * before, f"launches of {part}"  # by function in the file; a few more are no regression
