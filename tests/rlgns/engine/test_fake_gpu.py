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
    for update in ("update", "update of frames that are there", "update by loss"):
        assert seen["bfloat16"][update]["uploads"] == {"upload.py:Upload._sent": 2}
        assert seen["bfloat16"][update]["waits"] == {"optimizer_steps.py:OptimizerSteps.finish": 1}


def test_playing_sends_each_frame_once_and_the_learner_none_again(seen: dict[str, Any]) -> None:
    """A step is given one block, the newest frame and age of each environment, and asked for one."""
    playing, frame, envs, steps = seen["bfloat16"]["playing"], 84 * 84, 2, 8
    assert playing["uploads"] == {"frame_ring.py:FrameRing.stacks": steps}  # not the first: the last rollout's end
    assert playing["upload_bytes"] == {"frame_ring.py:FrameRing.stacks": steps * envs * (frame + 1)}
    assert playing["waits"] == {"collect.py:_answers": steps + 1}
    sent = [
        sum(seen["bfloat16"][name]["upload_bytes"].values()) for name in ("update", "update of frames that are there")
    ]
    assert sent[0] - sent[1] == (steps + 3) * 2 * envs * frame


def test_traffic_is_what_was_recorded(seen: dict[str, Any]) -> None:
    found = seen["bfloat16"]
    if os.environ.get("RLGNS_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    recorded = json.loads(GOLDEN.read_text())
    assert found.keys() == recorded.keys()
    for part, kinds in found.items():
        for kind in ("waits", "uploads", "upload_bytes"):
            assert kinds[kind] == recorded[part][kind], f"{kind} of {part}"
        now, before = (sum(counts["launches"].values()) for counts in (kinds, recorded[part]))
        assert now <= 1.02 * before, f"launches of {part}"  # by function in the file; a few more are no regression
