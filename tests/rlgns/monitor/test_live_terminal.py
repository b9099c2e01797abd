"""What a user sees on a terminal: a table that fits, at any width."""

from __future__ import annotations

import io
import os
import pty
from pathlib import Path

import pytest
from rich.console import Console

from rlgns.config.schema import Config
from rlgns.monitor.console import print_message
from rlgns.monitor.plain_terminal import PlainTerminal
from rlgns.monitor.row_text import noise_scale_text
from rlgns.monitor.terminal import LiveTerminal, make_terminal
from tests.rlgns.monitor.terminal_session import GAMES, Clock, starts, text_of
from tests.rows import make_row

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
        assert (
            "you use 32: keep them, since the interval includes them; the best estimate says more, and only a sweep "
            "can decide. (From the 67 %" in " ".join(text.split())
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


def test_a_message_wraps_between_words_and_keeps_a_path_whole() -> None:
    console = Console(width=40, file=io.StringIO(), force_terminal=True, color_system=None)
    path = "runs/" + "a-long-name-" * 5
    with console.capture() as capture:
        print_message(console, f"saved; resume with: rlgns train --resume {path}")
    assert capture.get().splitlines() == ["saved; resume with: rlgns train --resume", path]
