"""How far runs are, before their first row and after it: environments, observations, time left."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from rlgns.config.schema import Config
from rlgns.formatting import duration
from rlgns.monitor.listener import Listener
from rlgns.monitor.plain_terminal import PlainTerminal
from rlgns.monitor.runs_progress import RunsProgress
from rlgns.monitor.start_text import starting
from rlgns.monitor.terminal import LiveTerminal
from tests.rlgns.monitor.terminal_session import GAMES, Clock, starts, text_of
from tests.rows import make_row


def test_the_text_before_the_first_row(tmp_path: Path, config: Config) -> None:
    stream = io.StringIO()
    PlainTerminal(config, stream, clock=Clock()).start(starts(tmp_path, config))
    envs = config.env.num_envs
    assert f"breakout: starting {envs} environments\n" in stream.getvalue()
    many = replace(config, env=replace(config.env, num_envs=512))
    assert starting(many) == "starting 512 environments; each emulator takes 0.8 s of a core to start"
    alone, off = replace(config.agent, minibatches=1), replace(config.noise, enabled=False)
    one = replace(config, env=replace(config.env, num_envs=1), agent=alone, noise=off)
    assert starting(one) == "starting 1 environment"


def test_a_bar_shows_no_progress_that_a_kill_took(tmp_path: Path, config: Config) -> None:
    """Rows after the last checkpoint are repeated: the bar starts at the checkpoint and follows them."""
    first, *others = starts(tmp_path, config)
    lost = replace(first, resumed=True, first_row=make_row(100), saved_observations=50 * 1024)
    console = Console(file=io.StringIO(), width=100)
    terminal = LiveTerminal(config, console, clock=Clock())
    terminal.start([lost, *others])
    assert "8.3 %  51.2k of 614k observations" in text_of(terminal, console)
    assert f"{lost.game}: starting {config.env.num_envs} environments" in text_of(terminal, console)
    terminal.repeated(lost.game, make_row(60))
    assert "10 %  61.4k of 614k observations" in text_of(terminal, console)
    terminal.end("done")


def test_seeds_wait_for_each_other_and_count_one_after_another(tmp_path: Path, config: Config) -> None:
    one = replace(config, run=replace(config.run, games=("pong",)))
    (first, *_) = starts(tmp_path, one)
    runs = [replace(first, name=f"pong-s{seed}") for seed in range(3)]
    clock, console, stream = Clock(), Console(file=io.StringIO(), width=100), io.StringIO()
    terminal, plain = LiveTerminal(one, console, clock=clock), PlainTerminal(one, stream, clock=clock)
    terminal.start(runs)
    plain.start(runs)
    assert stream.getvalue() == "pong-s0: starting 8 environments\nthen, one after another: pong-s1, pong-s2\n"
    assert "0 of 614k observations\npong-s0: starting 8 environments\nthen, one after" in text_of(terminal, console)
    for row, now in ((100, 10.0), (101, 11.0)):
        clock.now = now
        terminal.row("pong-s0", make_row(row))
    text = text_of(terminal, console)
    assert f"{duration((3 * 200 - 101) * 1.0)} left" in text  # a second for each of all remaining rows
    assert "then, one after another: pong-s1, pong-s2" in text
    terminal.row("pong-s0", make_row(200))
    assert "pong-s1: starting 8 environments\nthen, one after another: pong-s2" in text_of(terminal, console)
    terminal.end("done")


def test_the_remaining_time_follows_the_pace_of_this_session(config: Config) -> None:
    clock = Clock()
    progress = RunsProgress(config, clock)
    for game in GAMES:
        progress.start(game, make_row(100)["observations"] if game == "pong" else 0)
    assert progress.left() == ""
    clock.now += 1000  # emulators start: no part of the pace
    progress.row("pong", make_row(105))
    assert progress.seconds_remaining() is None
    clock.now += 5
    progress.row("pong", make_row(110))
    done, total = 110 * 1024, 3 * 204_800
    assert progress.done == done
    assert progress.seconds_remaining() == pytest.approx((total - done) / (3 * 5 * 1024 / 5))
    progress.row("breakout", make_row(1))
    clock.now += 5
    progress.row("breakout", make_row(2))
    assert progress.seconds_remaining() == pytest.approx((total - done - 2048) / ((5 / 5 + 1 / 5) / 2 * 3 * 1024))
    for game in GAMES:
        progress.row(game, make_row(201))
    assert (progress.done, progress.seconds_remaining()) == (total, 0.0)


def test_environments_that_have_started_are_counted_until_the_first_row(tmp_path: Path, config: Config) -> None:
    many = replace(config, env=replace(config.env, num_envs=64))
    console = Console(file=io.StringIO(), width=80)
    terminal = LiveTerminal(many, console, clock=Clock())
    terminal.start(starts(tmp_path, many))
    terminal.starting("pong", 5, 32)  # of two runners, one has not begun
    text = text_of(terminal, console)
    assert "pong: starting: 5 of 64 environments\n" in text
    assert "breakout: starting 64 environments; each emulator takes 0.8 s" in text
    assert "left" not in text  # the time left is that of training
    terminal.starting("pong", 64, 64)
    assert "pong: 64 environments started; the first iteration is under way\n" in text_of(terminal, console)
    terminal.row("pong", make_row(1))
    assert "pong: starting" not in text_of(terminal, console)
    assert "under way" not in text_of(terminal, console)
    terminal.end("done")


def test_a_resumed_run_shows_what_it_knew_and_its_environments(tmp_path: Path, config: Config) -> None:
    first, *others = starts(tmp_path, config)
    newest = make_row(100)
    resumed = replace(first, resumed=True, first_row=newest, saved_observations=newest["observations"])
    console = Console(file=io.StringIO(), width=100)
    terminal = LiveTerminal(config, console, clock=Clock())
    terminal.start([resumed, *others])
    assert "pong: starting 8 environments\n" in text_of(terminal, console)
    terminal.starting("pong", 3, 8)
    text = text_of(terminal, console)
    assert "pong: starting: 3 of 8 environments\n" in text
    assert "pong: Critical batch" in text
    terminal.end("done")


def test_a_log_file_gets_a_count_every_few_seconds(tmp_path: Path, config: Config) -> None:
    clock, stream = Clock(), io.StringIO()
    terminal = PlainTerminal(config, stream, clock=clock)
    terminal.start(starts(tmp_path, config))
    before = stream.getvalue()
    for started in range(8):
        terminal.starting("pong", started, 8)  # in no time
    assert stream.getvalue() == before
    for started in range(9):
        terminal.starting("breakout", started, 8)
        clock.now += 2
    assert stream.getvalue()[len(before) :].splitlines() == [
        "breakout: starting: 3 of 8 environments",
        "breakout: starting: 6 of 8 environments",
    ]


def test_the_last_row_of_an_interrupted_run_is_shown(tmp_path: Path, config: Config) -> None:
    """Tune does not report the iteration in which it stops a trial; it is in metrics.jsonl and in the summary."""
    for live in (True, False):
        console, stream = Console(file=io.StringIO(), width=100), io.StringIO()
        terminal: Listener = (
            LiveTerminal(config, console, clock=Clock()) if live else PlainTerminal(config, stream, clock=Clock())
        )
        runs = starts(tmp_path / str(live), config)
        terminal.start(runs)
        for iteration in (1, 2):
            runs[0].folder.append(make_row(iteration))
        terminal.row("pong", make_row(1))
        terminal.end("interrupted")
        text = text_of(terminal, console) if isinstance(terminal, LiveTerminal) else stream.getvalue()
        assert text.count("2.05k of 614k observations" if live else "pong: 2,048 of 204,800 observations") == 1
        assert text.count("starting") == (2 if live else 3)  # the other two games
