"""Command lines are split into options, overrides and a job's command."""

from __future__ import annotations

from rlgns.commands.cli import COMMANDS
from rlgns.commands.parser import parse


def test_overrides_may_stand_anywhere() -> None:
    line = ["train", "--agent.clip", "-1", "--game", "pong", "qbert", "--wandb.tags=a=b,c"]
    options, overrides = parse(line, COMMANDS)
    assert options.game == ["pong", "qbert"]
    assert overrides == {"agent.clip": "-1", "wandb.tags": "a=b,c"}


def test_what_follows_two_dashes_is_the_job_s_command() -> None:
    options, overrides = parse(["submit", "--no-wait", "--", "train", "--agent.clip", "0.2"], COMMANDS)
    assert options.no_wait
    assert options.job_command == ["train", "--agent.clip", "0.2"]
    assert overrides == {}
    assert parse(["submit", "--job", "x"], COMMANDS)[0].job_command is None
