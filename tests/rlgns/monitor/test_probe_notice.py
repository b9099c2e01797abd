"""The interval between probes is reported once, and again after a large change."""

from pathlib import Path

from rlgns.config.schema import Config
from rlgns.monitor.listener import RunStart
from rlgns.monitor.probe_notice import ProbeNotice
from tests.rows import make_row, make_run


def rows(*cadences: int | None) -> list[dict]:
    return [make_row(1) | {"noise/probe_every_iterations": every} for every in cadences]


def test_reported_once_and_again_when_it_is_ten_times_more_or_less() -> None:
    lines: list[str] = []
    notice = ProbeNotice(Config(), lines.append)
    notice.start([])
    for row in [make_row(1), *rows(None, 26, 27, 60, 259, 260, 52, 27, 26, 25, None, 1)]:
        notice.row("pong", row)
    assert [text.split("every ")[1].split(",")[0] for text in lines] == [
        "26 iterations",
        "260 iterations",
        "26 iterations",
        "iteration",
    ]
    assert lines[0] == (
        "pong: the probe of the noise scale runs every 26 iterations, which keeps measurement within 0.5 % of the time "
        "(noise.overhead_budget)"
    )


def test_a_resumed_run_is_not_reported_again(tmp_path: Path) -> None:
    lines: list[str] = []
    notice = ProbeNotice(Config(), lines.append)
    folder = make_run(tmp_path / "pong", [])
    (last,) = rows(30)
    notice.start([RunStart(game="pong", folder=folder, config=Config(), wandb_id="a", resumed=True, first_row=last)])
    for row in rows(31, 80, 300):
        notice.row("pong", row)
    assert len(lines) == 1
    assert "300 iterations" in lines[0]
