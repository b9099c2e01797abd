"""Figures as image files, and the message where no browser can draw them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import psutil
import pytest

from rlgns.commands import cli
from rlgns.errors import FaultError, UserError
from rlgns.report import write_figures
from rlgns.report.content import read_content
from rlgns.report.document import figures
from tests.browser import CHROMIUM
from tests.rows import make_row, make_run
from tests.sweep_files import make_point, write_points


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt install chromium)")
def test_png_and_svg_of_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = write_points(tmp_path / "p.csv", [make_point("pong", 0, batch) for batch in (64, 256, 1024)])
    out = tmp_path / "figures"
    page = tmp_path / "r.html"
    assert cli.main(["report", str(points), "--out", str(page), "--figures", str(out)]) == 0
    names = {"agreement", "pong-pareto", "pong-against-score"}
    assert set(figures(read_content([points]))) == names
    assert {path.name for path in out.iterdir()} == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    assert f"{out}: 6 pictures" in capsys.readouterr().out
    for name in names:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        text = "".join(ET.parse(out / f"{name}.svg").getroot().itertext())
        assert "observations" in text


def test_no_browser_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    folder = make_run(tmp_path / "run", [make_row(i) for i in range(1, 20)])
    with pytest.raises(UserError, match="--figures draws with Chrome or Chromium, and none was found"):
        write_figures([folder], tmp_path / "figures")
    assert cli.main(["report", str(folder.path), "--figures", str(tmp_path / "figures")]) == 2
    assert not folder.report_path.exists()


def test_a_browser_that_hangs_is_killed_and_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = tmp_path / "browser"
    browser.write_text("#!/bin/sh\nwhile :; do sleep 1; done\n")
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(browser))
    monkeypatch.setattr("rlgns.report.image_renderer.START_S", 5.0)
    monkeypatch.setattr("rlgns.report.image_renderer.IMAGE_S", 0.0)
    folder = make_run(tmp_path / "run", [make_row(i) for i in range(1, 20)])
    with pytest.raises(FaultError, match="could not draw the figures: no answer within 5 s, 2 times"):
        write_figures([folder], tmp_path / "figures")
    commands = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert not any(str(browser) in command for command in commands)
    own = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert not any("rlgns.report.image_renderer" in command for command in own)


def test_nothing_to_draw_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no figure to draw yet"):
        write_figures([make_run(tmp_path / "run", [])], tmp_path / "figures")
    assert not (tmp_path / "figures").exists()
