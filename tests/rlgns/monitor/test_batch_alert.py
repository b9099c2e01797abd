"""When an alert says that the batch is far from the critical batch, and that W&B's real client records it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlgns.config.schema import Config, RunConfig, WandbConfig
from rlgns.monitor.batch_alert import AlertState, BatchAlert, Side, side_of
from rlgns.monitor.listener import RunStart
from rlgns.monitor.wandb_logger import WandbLogger
from rlgns.monitor.wandb_transaction_log import records
from rlgns.noise.config import NoiseConfig
from tests.rows import make_row, make_run

HOLD = 3000
CONFIG = Config(
    run=RunConfig(games=("pong",), name="quick"),
    noise=NoiseConfig(horizon_observations=HOLD),
    wandb=WandbConfig(mode="offline", alert_factor=8),
)
sizes = st.floats(min_value=1, max_value=1e6)
sides: st.SearchStrategy[Side | None] = st.sampled_from(["near", "small", "large", None])


def row(iteration: int, low: float | None, high: float | None, *, batch: int = 256) -> dict[str, Any]:
    """A row each 1,024 observations with this interval."""
    predicted = None if low is None or high is None else (low * high) ** 0.5
    return make_row(iteration) | {
        "batch_observations": batch,
        "noise/run_average_resolved": high is not None,
        "noise/run_average_high": 4000.0,
        "noise/run_average": 3000.0,
        "noise/run_average_low": 2000.0,
        "noise/run_average_share": 1.0,
        "noise/run_average_learning_rate": make_row(iteration)["learning_rate"],
        "critical_batch/low": low,
        "critical_batch/predicted": predicted,
        "critical_batch/high": high,
        "critical_batch/now_high": high,
    }


FAR, NEAR, UNKNOWN, TINY = (4000, 9000), (300, 500), (4000, None), (2, 9)


def alerts_of(rows: list[tuple[Any, Any]], *, config: Config = CONFIG) -> list[tuple[int, str]]:
    """Iterations at which an alert came, with its title."""
    heard: list[str] = []
    found: list[tuple[int, str]] = []
    alert = BatchAlert(config, [lambda key, title, text: heard.append(title)])
    alert.start([])
    for iteration, ends in enumerate(rows, start=1):
        alert.row("pong", row(iteration, *ends))
        found += [(iteration, title) for title in heard]
        heard.clear()
    return found


@given(sizes, sizes, sizes, st.floats(min_value=1, max_value=100))
def test_sides(batch: float, low: float, width: float, factor: float) -> None:
    high = low * width
    side = side_of(batch, low, high, factor)
    assert side_of(batch, low, None, factor) is None
    assert (side == "near") == (low / factor <= batch * (1 + 1e-12) and batch <= high * factor * (1 + 1e-12)) or (
        min(abs(batch * factor / low - 1), abs(batch / (high * factor) - 1)) < 1e-9
    )
    if side == "small":  # a wider interval or a larger factor never makes a batch that was near a far one
        assert side_of(batch, low, high * 2, factor) == "small" and side_of(batch / 2, low, high, factor) == "small"
    if side == "near":
        assert side_of(batch, low, high, 2 * factor) == "near"


@given(st.lists(sides, max_size=60), st.integers(min_value=1, max_value=6))
def test_a_side_is_announced_once_it_held_and_only_when_it_changes(course: list[Side | None], hold: int) -> None:
    state, changes = AlertState(), []
    for at, side in enumerate(course):
        before, state = state.announced, state.after(side, at, hold_observations=hold)
        last = course[max(0, at - hold) : at + 1]
        held = len(last) == hold + 1 and set(last) == {side}
        assert state.announced == (side if held and side is not None else before)  # the slow twin of the rule
        if state.announced != before:
            changes.append(state.announced)
    assert all(one != other for one, other in zip(["near", *changes], changes, strict=False))


def test_one_alert_per_crossing() -> None:
    below, above = "pong: batch far below the critical batch", "pong: batch far above the critical batch"
    assert alerts_of([FAR] * 10) == [(4, below)]
    assert alerts_of([FAR] * 3 + [NEAR] + [FAR] * 3) == []  # never for long enough
    assert alerts_of([UNKNOWN] * 10) == []  # not resolved
    assert alerts_of([FAR] * 3 + [UNKNOWN] + [FAR] * 4) == [(8, below)]
    assert alerts_of([FAR] * 5 + [NEAR] * 2 + [FAR] * 9) == [(4, below)]  # near too shortly to count
    assert alerts_of([FAR] * 5 + [NEAR] * 4 + [FAR] * 5) == [(4, below), (13, below)]
    assert alerts_of([TINY] * 5 + [FAR] * 5) == [(4, above), (9, below)]
    assert alerts_of([FAR] * 9, config=dataclasses.replace(CONFIG, wandb=WandbConfig(alert_factor=0))) == []
    assert alerts_of([FAR] * 9, config=dataclasses.replace(CONFIG, wandb=WandbConfig(alert_factor=16))) == []


def test_a_batch_is_not_too_large_where_the_critical_batch_of_now_may_be_larger() -> None:
    """The verdict says keep then."""
    heard: list[str] = []
    alert = BatchAlert(CONFIG, [lambda key, title, text: heard.append(title)])
    for iteration in range(1, 10):
        alert.row("pong", row(iteration, *TINY) | {"critical_batch/now_high": 300.0})
    assert heard == []


def test_a_row_of_an_older_version_whose_critical_batch_was_the_bare_noise_scale_says_nothing() -> None:
    heard: list[str] = []
    alert = BatchAlert(CONFIG, [lambda key, title, text: heard.append(title)])
    for iteration in range(1, 10):
        old = {name: value for name, value in row(iteration, *FAR).items() if not name.startswith("noise/run_average")}
        alert.row("pong", old)
    assert heard == []


def test_the_text_is_one_line_with_the_numbers() -> None:
    lines: list[str] = []
    alert = BatchAlert(CONFIG, [lambda key, title, text: lines.append(text)])
    for iteration in range(1, 6):
        alert.row("pong", row(iteration, 4000, 9000))
    assert lines == [
        "pong: the batch of 256 observations has been more than 8 times below the predicted critical batch, 6,000 "
        "(4,000 to 9,000) (run average of the noise scale 3,000 (2,000 to 4,000); learning rate 2.4e-4, calibrated on "
        "A2C), for 3k observations: a larger batch would take fewer steps at nearly as many observations "
        "(wandb.alert_factor)"
    ]


@pytest.mark.usefixtures("no_login")
def test_wandb_has_the_alert_once_over_a_resume(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "pong", [])
    lines: list[str] = []
    for iterations, resumed in ((range(1, 7), False), (range(7, 13), True)):
        start = RunStart(game="pong", folder=folder, config=CONFIG, wandb_id="idpong", resumed=resumed)
        wandb = WandbLogger(CONFIG.wandb, lambda text: None)
        alert = BatchAlert(CONFIG, [wandb.alert, lambda key, title, text: lines.append(text)])
        for listener in (wandb, alert):
            listener.start([start])
        for iteration in iterations:
            new = row(iteration, *FAR)
            folder.append(new)
            for listener in (wandb, alert):
                listener.row("pong", new)
        wandb.end("done")
    assert len(lines) == 1
    alerts = [
        record.alert
        for path in sorted(folder.path.glob("wandb/offline-run-*/*.wandb"))
        for record in records(path)
        if record.WhichOneof("record_type") == "alert"
    ]
    assert [(alert.title, alert.text, alert.level) for alert in alerts] == [
        ("pong: batch far below the critical batch", lines[0], "WARN")
    ]
    assert len(alerts[0].title) < 64


def test_factors_that_make_no_sense_are_refused() -> None:
    for factor in (0.5, -1, float("nan")):
        with pytest.raises(ValueError, match=r"wandb.alert_factor must be at least 1, or 0 for never"):
            WandbConfig(alert_factor=factor)
