"""What a user sees: plain lines in a pipe, a table that fits on a terminal."""

from __future__ import annotations

import io
import os
import pty
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from rlgns.config.schema import Config, RunConfig
from rlgns.formatting import duration
from rlgns.monitor.console import print_message
from rlgns.monitor.listener import Listener, RunStart
from rlgns.monitor.row_text import noise_scale_text
from rlgns.monitor.runs_progress import RunsProgress
from rlgns.monitor.terminal import (
    LiveTerminal,
    PlainTerminal,
    advice_lines,
    make_terminal,
    starting,
)
from tests.rows import make_null_row, make_row, make_run, noise_share

CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
GAMES = ("pong", "montezuma_revenge", "breakout")


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def starts(tmp_path: Path, config: Config) -> list[RunStart]:
    return [
        RunStart(game=game, folder=make_run(tmp_path / game, []), config=config, wandb_id=game)
        for game in config.run.games
    ]


@pytest.fixture
def config() -> Config:
    return Config(run=RunConfig(games=GAMES, observations=204_800))


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


ADAPTIVE = {"batch_mode": "adaptive", "num_envs": 64, "target_batch_observations": 671.3}


@pytest.mark.parametrize("width", [80, 120])
def test_an_adaptive_batch_is_marked(tmp_path: Path, config: Config, width: int) -> None:
    stream = io.StringIO()
    terminal = make_terminal(config, stream, clock=Clock())
    terminal.start(starts(tmp_path, config))
    terminal.row("pong", make_row(150, batch=512) | ADAPTIVE)
    terminal.row("breakout", make_row(150, game="breakout") | {"batch_mode": "fixed"})
    plain = stream.getvalue()
    assert "batch 512 (adaptive)\n" in plain and "batch 256\n" in plain
    live = LiveTerminal(config, Console(width=width, file=io.StringIO()), clock=Clock())
    live.row("pong", make_row(150, batch=512) | ADAPTIVE)
    page = Console(width=width, file=io.StringIO(), color_system=None)
    with page.capture() as captured:
        page.print(live.render())
    text = " ".join(captured.get().split())
    assert "adaptive batch: 512 observations from 64 environments; target 670" in text
    assert ("512 (adaptive)" in text) == (width == 120)


LARGE = {
    "noise/scale": 1_234_567.0,
    "noise/scale_low": 1_034_567.0,
    "noise/scale_high": 1_634_567.0,
    "noise/resolved": True,
    "score_mean": -1234.4,
    "human_normalised_score": 12.34,
    "throughput/observations_per_s": 123_456.0,
    "critical_batch/predicted": 1_234_567.0,
    "batch_observations": 65_536,
}


@pytest.mark.parametrize(
    ("width", "scale"), [(60, "1.2M (1M to 1.6M)"), (80, "1.2M (1M to 1.6M)"), (140, "1,600,000)")]
)
def test_large_numbers_stay_on_one_line(tmp_path: Path, config: Config, width: int, scale: str) -> None:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    terminal = LiveTerminal(config, console, clock=Clock())
    for game in GAMES:
        terminal.row(game, make_row(150, game=game) | LARGE)
    lines = text_of(terminal, console).splitlines()
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines[1:5]] == [
        "game",
        "pong",
        "montezuma_revenge"[: 17 if width > 108 else 14],
        "breakout",
    ]
    assert all(scale in line for line in lines[2:5])


def test_a_message_wraps_between_words_and_keeps_a_path_whole() -> None:
    console = Console(width=40, file=io.StringIO(), force_terminal=True, color_system=None)
    path = "runs/" + "a-long-name-" * 5
    with console.capture() as capture:
        print_message(console, f"saved; resume with: rlgns train --resume {path}")
    assert capture.get().splitlines() == ["saved; resume with: rlgns train --resume", path]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_table_fits(tmp_path: Path, config: Config, width: int) -> None:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    clock = Clock()
    terminal = LiveTerminal(config, console, clock=clock)
    terminal.start(starts(tmp_path, config))
    clock.now += 60
    terminal.row("pong", make_row(149))
    clock.now += 3
    terminal.row("pong", make_row(150))
    terminal.row("montezuma_revenge", make_row(10, game="montezuma_revenge"))
    terminal.end("done")
    page = Console(width=width, file=io.StringIO(), color_system=None)
    with page.capture() as captured:
        page.print(terminal.render())
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    if width >= 80:
        for part in ("pong", "320", "at least", "256", "observations", "left"):
            assert part in text
        assert "scale" in lines[1] and "\u2026" not in text
        assert "twice the environments: 1." in " ".join(text.split())
        assert "you use 32: keep them, since the interval allows it. (Learning rate 1.9e-4 on average" in " ".join(
            text.split()
        )
        assert "breakout: starting" in text
        assert noise_scale_text(make_row(150)) in text
    if width == 120:
        for title in ("observations/s", "critical batch", "montezuma_revenge"):
            assert title in text


def test_a_real_terminal_gets_the_live_table(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    reader, writer = pty.openpty()
    with os.fdopen(reader, "rb", buffering=0), os.fdopen(writer, "w") as stream:
        assert isinstance(make_terminal(config, stream), LiveTerminal)
        monkeypatch.setenv("TERM", "dumb")
        assert isinstance(make_terminal(config, stream), PlainTerminal)


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


def test_a_listener_that_does_nothing() -> None:
    listener = Listener()
    listener.start([])
    listener.row("pong", make_row(1))
    listener.message("x")
    listener.end("done")


def test_a_noise_scale_textf_policy_says_so() -> None:
    on_policy, off_policy = make_row(150) | {"policy_lag": 0}, make_row(150) | {"policy_lag": 1}
    assert noise_scale_text(on_policy) == noise_scale_text(make_row(150))
    assert noise_scale_text(off_policy) == noise_scale_text(on_policy) + ", lag 1"


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


def text_of(terminal: LiveTerminal, console: Console) -> str:
    with console.capture() as capture:
        console.print(terminal.render())
    return capture.get()
