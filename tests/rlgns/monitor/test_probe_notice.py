"""The interval between probes is reported once for each game."""

from pathlib import Path

from rlgns.config.schema import Config
from rlgns.monitor.listener import RunStart
from rlgns.monitor.probe_notice import ProbeNotice
from tests.rows import make_row, make_run


def rows(*cadences: int | None) -> list[dict]:
    return [make_row(1) | {"noise/probe_every_iterations": every} for every in cadences]


def test_reported_once() -> None:
    lines: list[str] = []
    notice = ProbeNotice(Config(), lines.append)
    notice.start([])
    for row in [make_row(1), *rows(None, 26, 27, 260, None, 1)]:
        notice.row("pong", row)
    assert lines == [
        "pong: the probe of the noise scale runs every 26 iterations, which keeps measurement within 0.5 % of the time "
        "(noise.overhead_budget)"
    ]


def test_a_resumed_run_is_not_reported_again(tmp_path: Path) -> None:
    lines: list[str] = []
    notice = ProbeNotice(Config(), lines.append)
    folder = make_run(tmp_path / "pong", [])
    (last,) = rows(30)
    notice.start([RunStart(game="pong", folder=folder, config=Config(), wandb_id="a", resumed=True, first_row=last)])
    for row in rows(31, 80, 300):
        notice.row("pong", row)
    assert not lines
