"""Checkpoints on a real disk: written whole or not at all; errors are one line."""

import math
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rlgns.agents.network import build_network
from rlgns.config.load import to_dict
from rlgns.errors import FaultError, UserError
from rlgns.storage.checkpoint import load, load_newest, load_policy, newest_whole, numbered, save
from tests.rlgns.engine.tiny import tiny


def state(number: int, floats: int = 4) -> dict[str, Any]:
    return {
        "iteration": number,
        "weights": torch.full((floats,), float(number)),
        "nested": {"scores": [1.5, -2.0], "name": "pong", "none": None},
    }


def assert_holds(found: dict[str, Any] | None, number: int) -> None:
    assert found is not None
    expected = state(number)
    assert torch.equal(found["weights"], expected["weights"])
    assert (found["iteration"], found["nested"]) == (number, expected["nested"])


def truncate(path: Path, share: float) -> None:
    content = (path / "state.pt").read_bytes()
    (path / "state.pt").write_bytes(content[: int(len(content) * share)])


def policy_state() -> dict[str, Any]:
    config = tiny()
    torch.manual_seed(5)
    return {
        "config": to_dict(config),
        "game": "pong",
        "num_actions": 6,
        "observations": 64,
        "iteration": 2,
        "learner": {
            "network": build_network(
                config.network, num_actions=6, frame_stack=config.env.frame_stack, image_size=config.env.image_size
            ).state_dict()
        },
    }


def error_of(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_policy(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoints", 7, state(7), kept=2)
    assert path == tmp_path / "checkpoints" / "00000007"
    assert_holds(load(path), 7)
    assert_holds(load_newest(tmp_path / "checkpoints"), 7)


def test_only_the_newest_are_kept_by_number(tmp_path: Path) -> None:
    for number in (8, 9, 10, 100):
        save(tmp_path, number, state(number), kept=3)
    assert [path.name for path in numbered(tmp_path)] == ["00000009", "00000010", "00000100"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000009", "00000010", "00000100"]


def test_an_iteration_saved_again_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, 3, state(1), kept=1)
    save(tmp_path, 3, state(2), kept=1)
    assert [path.name for path in tmp_path.iterdir()] == ["00000003"]
    assert_holds(load_newest(tmp_path), 2)


def test_leftovers_of_a_killed_save_are_ignored_and_removed(tmp_path: Path) -> None:
    save(tmp_path, 1, state(1), kept=5)
    leftover = tmp_path / ".partial-00000002"
    shutil.copytree(tmp_path / "00000001", leftover)
    truncate(leftover, 0.5)
    (tmp_path / "00000002").mkdir()  # a folder without a state is no checkpoint
    (tmp_path / "3 notes").mkdir()  # the user's
    assert [path.name for path in numbered(tmp_path)] == ["00000001"]
    assert_holds(load_newest(tmp_path), 1)
    save(tmp_path, 3, state(3), kept=5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000001", "00000003", "3 notes"]
    assert [path.name for path in numbered(tmp_path)] == ["00000001", "00000003"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_torn_checkpoint_falls_back_to_the_one_before(tmp_path: Path, share: float) -> None:
    for number in (1, 2):
        save(tmp_path, number, state(number, 4000), kept=2)
    truncate(tmp_path / "00000002", share)
    said: list[str] = []
    found = load_newest(tmp_path, said.append)
    assert found is not None and found["iteration"] == 1
    assert newest_whole(tmp_path) == 1
    (line,) = said
    assert line.startswith(f"checkpoint {tmp_path}/00000002 is torn or not a checkpoint (")
    assert line.endswith(f"); the older {tmp_path}/00000001 is used instead")


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def same(found: Any, expected: Any) -> bool:
    """Returns whether two states are equal bit for bit."""
    if isinstance(expected, torch.Tensor):
        return torch.equal(found.view(torch.uint8), expected.view(torch.uint8))
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[key], expected[key]) for key in expected)
    return bool(found == expected)


def test_no_flipped_bit_loads_another_state(tmp_path: Path) -> None:
    """A flip loads nothing, or, in bits of the archive that mean nothing, such as its padding, the very same state."""
    expected = policy_state()
    file = save(tmp_path, 1, expected, kept=1) / "state.pt"
    content = file.read_bytes()
    rng = random.Random(0)
    folder_bits = [8 * (entry.start() + 38) + 4 for entry in re.finditer(rb"PK\x01\x02", content)]
    refused = 0
    for bit in [*folder_bits, *(rng.randrange(8 * len(content)) for _ in range(100))]:
        file.write_bytes(flipped(content, bit))
        try:
            found = load(tmp_path / "00000001")
        except UserError:
            refused += 1
        else:
            assert same(found, expected)
    assert refused > 25  # most of so small a file is padding


def test_a_flipped_weight_falls_back_to_the_older_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = torch.linspace(6e-4, 1.0, 1000)
    for number in (1, 2):
        save(tmp_path, number, {"iteration": number, "weights": weights}, kept=2)
    file = tmp_path / "00000002" / "state.pt"
    content = file.read_bytes()
    at = content.index(weights.numpy().tobytes())
    file.write_bytes(flipped(content, 8 * (at + 3) + 6))  # a bit of the exponent
    found = load_newest(tmp_path)
    assert found is not None and found["iteration"] == 1
    assert capsys.readouterr().err.startswith(f"rlgns: checkpoint {tmp_path}/00000002 is torn")


def test_a_torn_checkpoint_does_not_displace_what_is_saved_after_it(tmp_path: Path) -> None:
    for number in (5, 9):
        save(tmp_path, number, state(number), kept=1)
    truncate(tmp_path / "00000009", 0.5)
    for number, left in ((6, ["00000006", "00000009"]), (8, ["00000008", "00000009"]), (10, ["00000010"])):
        save(tmp_path, number, state(number), kept=1)
        assert [path.name for path in numbered(tmp_path)] == left
        assert_holds(load_newest(tmp_path), number)


def test_where_all_are_torn_the_newest_is_named(tmp_path: Path) -> None:
    for number in (1, 2):
        save(tmp_path, number, state(number), kept=2)
        truncate(tmp_path / f"{number:08d}", 0.5)
    expected = r"^checkpoint .*/00000002 is torn or not a checkpoint \(\w+\) and there is no older one that is whole; "
    with pytest.raises(UserError, match=expected + "train again in another folder$"):
        load_newest(tmp_path)


def test_no_checkpoint_at_all_is_no_error(tmp_path: Path) -> None:
    assert load_newest(tmp_path) is None
    assert load_newest(tmp_path / "missing") is None
    assert numbered(tmp_path / "missing") == []


def test_nothing_is_executed_while_loading(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
            return (Path.touch, (tmp_path / "executed",))

    (tmp_path / "00000001").mkdir()
    torch.save({"iteration": Harmful()}, tmp_path / "00000001" / "state.pt")
    with pytest.raises(UserError, match="torn or not a checkpoint"):
        load(tmp_path / "00000001")
    assert not (tmp_path / "executed").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_one_line_and_the_older_checkpoint_stays(small_disk: Path) -> None:
    folder = small_disk / "checkpoints"
    save(folder, 1, state(1), kept=1)
    for number in (2, 1):  # a new one, and the same one again
        with pytest.raises(FaultError, match=rf"^cannot save checkpoint {folder}/0000000{number}: [^\n]+$"):
            save(folder, number, state(number, 100_000), kept=1)
        assert [path.name for path in folder.iterdir()] == ["00000001"]
        assert_holds(load_newest(folder), 1)
    save(folder, 3, state(3), kept=1)  # there is room again
    assert_holds(load_newest(folder), 3)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FaultError, match=r"^cannot save checkpoint .*/file/00000001: Not a directory$"):
        save(tmp_path / "file", 1, state(1), kept=1)


def test_a_policy_is_found_by_run_folder_checkpoints_folder_and_number(tmp_path: Path) -> None:
    saved = policy_state()
    newest = save(tmp_path / "checkpoints", 2, saved, kept=2)
    for path in (tmp_path, tmp_path / "checkpoints", newest):
        policy = load_policy(path)
        assert (policy.game, policy.observations, policy.iteration) == ("pong", 64, 2)
        assert policy.config == tiny()
        assert not policy.network.training
        for name, value in policy.network.state_dict().items():
            assert torch.equal(value, saved["learner"]["network"][name])
        assert not any(parameter.requires_grad for parameter in policy.network.parameters())


def test_a_policy_comes_from_the_newest_whole_checkpoint(tmp_path: Path) -> None:
    save(tmp_path / "checkpoints", 1, {**policy_state(), "iteration": 1}, kept=2)
    truncate(save(tmp_path / "checkpoints", 2, policy_state(), kept=2), 0.5)
    assert load_policy(tmp_path).iteration == 1
    assert "is torn or not a checkpoint" in error_of(tmp_path / "checkpoints" / "00000002")


def test_no_policy_is_one_line(tmp_path: Path) -> None:
    assert error_of(tmp_path / "missing") == f"no checkpoint: {tmp_path}/missing does not exist"
    assert error_of(tmp_path).startswith(f"no checkpoint in {tmp_path}: ")
    (tmp_path / "file").write_text("x")
    assert error_of(tmp_path / "file").startswith(f"no checkpoint in {tmp_path}/file")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"learner": {}}, "network"),
        ({"num_actions": 18}, "size mismatch"),
        ({"config": {**to_dict(tiny()), "unheard": {"of": 1}}}, "unheard"),
        ({"config": {**to_dict(tiny()), "agent": {"epochs": -1}}}, "agent.epochs"),
        ({"num_actions": 0}, "num_actions must be a positive integer, got 0"),
        ({"iteration": None}, "iteration must be a positive integer, got None"),
        ({"game": "pongg"}, "unknown game 'pongg'"),
        ({"learner": {"network": 0.5}}, "AttributeError"),
        ({"learner": {"network": {"policy.bias": torch.tensor([0.0, math.nan])}}}, "policy.bias has values that are"),
    ],
    ids=["no-network", "other-network", "unknown-key", "bad-value", *("no-actions", "no-count", "game", "kind", "nan")],
)
def test_a_policy_of_another_version_is_one_line(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    save(tmp_path, 1, {**policy_state(), **change}, kept=1)
    message = error_of(tmp_path)
    assert reason in message
    assert "does not fit this version" in message and str(tmp_path) in message


def test_a_state_of_another_kind_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "00000001").mkdir()
    torch.save([1, 2, 3], tmp_path / "00000001" / "state.pt")
    assert "does not fit this version" in error_of(tmp_path)
