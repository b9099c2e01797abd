"""Configuration files: what is wrong with one is said in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlgns.config.load import resolve
from rlgns.errors import UserError

BOMB = b"a: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + b"".join(
    b"b%d: &x%d [%s]\n" % (n, n, b", ".join([b"*x%d" % (n - 1)] * 9)) for n in range(1, 9)
)
"""Aliases that stand for 387 million values."""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"env: {num_envs: 8", ("not valid YAML", "line ")),
        (b"env:\n\tnum_envs: 8\n", ("not valid YAML", "line 2, column 1")),
        (b"- env\n", ("must be sections", "list")),
        (b"just words\n", ("must be sections", "str")),
        (b"env: 8\n", ("env: 8 is not a section",)),
        (b"enf: {num_envs: 8}\n", ("unknown section 'enf'", "did you mean env?")),
        (b"1: {num_envs: 8}\n", ("unknown section 1",)),
        (b"env: {num_env: 8}\n", ("env.num_env: unknown key", "env.num_envs")),
        (b"env: {num_envs: 8}\nenv: {image_size: 84}\n", ("env is given twice", "line 2")),
        (b"env:\n  num_envs: 8\n  num_envs: 9\n", ("num_envs is given twice", "line 3")),
        (b"? [a, b]\n: 1\n", ("not valid YAML",)),
        (b"\xff\xfe\x00", ("UTF-8",)),
        (b"env: \x00\n", ("not valid YAML",)),
        (b"run: {name: !!python/object:os.system x}\n", ("not valid YAML",)),
        (b"run: {name: 2024-99-99}\n", ("not valid YAML",)),
        (b"[" * 5000, ("not valid YAML",)),
        (b"run: {seed: !!bool x}\n", ("not valid YAML",)),
        (b"run: {seed: !!timestamp x}\n", ("not valid YAML",)),
        (b"run: {seed: !!int ''}\n", ("not valid YAML",)),
        (b"run: {seed: 0x" + b"f" * 5000 + b"}\n", ("a whole number is above 2^64",)),
        (b"run: {seed: 9223372036854775808}\n", ("run.seed: 9223372036854775808 is too large",)),
        (b"env: &a [*a]\n", ("an alias contains itself", "line 1")),
        (BOMB, ("it has more than 100,000 values",)),
        (b"run: {games: [" + b"pong, " * 2000 + b"]}\n", ("run.games: 2,000 entries are more than the 1,000",)),
        (b"base: " + b"x" * 300 + b"\n", ("cannot be read: File name too long",)),
        (b"base: ppoo\n", ("unknown preset 'ppoo'", "did you mean ppo?")),
        (b"base: 3\n", ("base: 3 is not the name",)),
        (b"base: broken.yaml\n", ("leads back to itself",)),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, content: bytes, words: tuple[str, ...]) -> None:
    file = tmp_path / "broken.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        resolve([file])
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no configuration file .*none\.yaml; presets: a2c-paper, gpu, ppo, quick"):
        resolve([tmp_path / "none.yaml"])
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        resolve([tmp_path])
    with pytest.raises(UserError, match=r"unknown preset 'quik' \(did you mean quick\?\)"):
        resolve(["quik"])


def test_yaml_anchors_and_merges_work(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("env: &e {num_envs: 16}\nagent: {gamma: 0.5}\n")
    (tmp_path / "merged.yaml").write_text("network: {<<: {hidden: 64}, hidden: 128}\n")
    assert resolve([tmp_path / "mine.yaml"]).env.num_envs == 16
    assert resolve([tmp_path / "merged.yaml"]).network.hidden == 128


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "ppo.yaml").write_text("")
    assert resolve([tmp_path / "ppo.yaml"]) == resolve(["ppo"])
