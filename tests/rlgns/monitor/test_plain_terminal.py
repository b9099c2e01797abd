"""What a user sees in a pipe or a log file: plain lines."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rlgns.config.schema import Config
from rlgns.monitor.plain_terminal import PlainTerminal
from rlgns.monitor.row_text import advice_lines
from rlgns.monitor.terminal import make_terminal
from tests.rlgns.monitor.terminal_session import GAMES, Clock, starts
from tests.rows import make_null_row, make_row, noise_share

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


def test_plain_lines_every_few_seconds(tmp_path: Path, config: Config) -> None:
    clock, stream = Clock(), io.StringIO()
    terminal = make_terminal(config, stream, clock=clock)
    assert isinstance(terminal, PlainTerminal)
    terminal.start(starts(tmp_path, config))
    for iteration in range(1, 101):
        clock.now += 0.5
        for game in GAMES:
            terminal.row(game, make_row(iteration, game=game))
    terminal.message("two\nlines")
    terminal.end("done")
    text = stream.getvalue()
    assert not CONTROL.search(text)
    lines = text.splitlines()
    progress = [line for line in lines if line.startswith("pong: ") and "score" in line]
    assert len(progress) == 10 + 1  # 50 seconds at one line in 5, and the newest row at the end.
    assert "two lines" in lines
    # Of three games, of which this is the first row.
    assert progress[0] == (
        "pong: 1,024 of 204,800 observations, score -, 320 observations/s, noise scale now measuring at learning rate "
        "2.5e-4, critical batch measuring, batch 256"
    )
    assert "102,400 of 204,800 observations" in progress[-1]
    advice = [line for line in lines if "twice the environments" in line]
    assert advice
    assert len(advice) <= 3 * len(GAMES)


def test_advice_on_longer_rollouts_appears_once_known(tmp_path: Path, config: Config) -> None:
    probed = {"noise/twice_steps_noise": 0.8, "noise/twice_steps_noise_low": 0.77}
    for row, expected in (
        (make_row(150) | probed, ["twice the environments", "twice the rollout steps"]),
        (make_row(150) | probed | {"noise/twice_steps_noise_low": None}, ["twice the environments"]),
        (make_row(150), ["twice the environments"]),
        (make_null_row() | probed, ["twice the environments"]),
    ):
        assert [line.split(":")[0] for line in advice_lines(row)] == expected
    stream = io.StringIO()
    terminal = make_terminal(config, stream, clock=Clock())
    terminal.start(starts(tmp_path, config))
    for _ in range(3):
        terminal.row("pong", make_row(150) | probed)
    terminal.end("done")
    assert stream.getvalue().count("pong: twice the rollout steps: 1.") == 1


def test_whose_noise_it_is_appears_once_it_is_sure(tmp_path: Path, config: Config) -> None:
    sure, unsure = (make_row(150) | noise_share(0.9, low, 1.0) for low in (0.8, 0.4))
    line = "noise by loss: the value function's gradients make 90 % of the noise (80 % to 100 %)"
    assert (advice_lines(sure)[1:], advice_lines(unsure)[1:]) == ([line], [])
    stream = io.StringIO()
    terminal = make_terminal(config, stream, clock=Clock())
    terminal.start(starts(tmp_path, config))
    for row in (unsure, sure, sure):
        terminal.row("pong", row)
    terminal.end("done")
    assert stream.getvalue().count(f"pong: {line}") == 1


def test_plain_row_with_nothing_known(tmp_path: Path, config: Config) -> None:
    stream = io.StringIO()
    terminal = make_terminal(config, stream, clock=Clock())
    terminal.start(starts(tmp_path, config))
    terminal.row("pong", make_null_row())
    assert "None" not in stream.getvalue()
    assert "noise scale now measuring" in stream.getvalue()
