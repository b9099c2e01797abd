"""`rlgns config`: YAML that can be read again, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rlgns.commands import cli
from rlgns.config.load import resolve, to_dict


def test_config_prints_yaml_that_can_be_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["config", "--config", "ppo", "--game", "pong", "MsPacman", "--seed", "5", "--agent.gamma=0.9"]
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    (tmp_path / "again.yaml").write_text(text)
    expected = resolve(["ppo"], {"run.games": "pong,ms_pacman", "run.seed": 5, "agent.gamma": 0.9})
    assert yaml.safe_load(text) == to_dict(expected)
    assert resolve([tmp_path / "again.yaml"]) == expected
    for line in ("# rollout     1,024", "# batch       256", "# groups      2", "# iterations  9,766", "# hardware "):
        assert line in text
    for line in (
        "one machine with ",
        "# driver      learns and plays 8 environments: ",
        "# memory      about ",
    ):
        assert line in text


def test_config_places_on_this_machine_where_no_cluster_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert cli.main(["config", "--config", "ppo", "--runners", "4", "--learners", "2"]) == 0
    output = capsys.readouterr()
    assert output.err.startswith("RAY_ADDRESS: no Ray cluster answers at '127.0.0.1:1' (")
    assert output.err.count("\n") == 1
    for line in ("# placement   one machine with", "# learners    2, each ", "# runners     4, each ", "# objects "):
        assert line in output.out


def test_config_shows_the_range_of_an_adaptive_batch(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--config", "ppo", "--batch", "adaptive"]) == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["agent"]["batch"] == "adaptive"
    assert "# adaptive    from 256 to 4,096 observations per optimizer step (8 to 128 envs)" in text
    assert "#             the other sizes are those at the start, with 8 envs" in text
    assert cli.main(["config", "--batch", "fixed", "--agent.batch", "adaptive"]) == 2
    assert "--batch and --agent.batch are the same setting" in capsys.readouterr().err
