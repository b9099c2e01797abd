"""Where progress may be drawn, and where it is plain lines."""

from __future__ import annotations

import io
import os
import pty

import pytest

from rlgns.monitor.console import can_draw, console_of, write_line


def test_a_terminal_is_drawn_on_unless_it_is_dumb(monkeypatch: pytest.MonkeyPatch) -> None:
    main, terminal = pty.openpty()
    with os.fdopen(main, "rb"), os.fdopen(terminal, "w") as stream:
        monkeypatch.setenv("TERM", "xterm")
        assert can_draw(console_of(stream))
        monkeypatch.setenv("TERM", "dumb")
        assert not can_draw(console_of(stream))


def test_a_pipe_is_not_whatever_colours_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert console_of(io.StringIO()).is_terminal, "to rich"
    assert not can_draw(console_of(io.StringIO()))


def test_a_line_is_one_line() -> None:
    stream = io.StringIO()
    write_line("first\n  second", stream)
    assert stream.getvalue() == "first second\n"
