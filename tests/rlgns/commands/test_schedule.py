"""`rlgns schedule` on what runs and other trainers log; formats as these trainers take them."""

from __future__ import annotations

import ast
import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rlgns.commands.cli import main
from rlgns.errors import ExitCode
from tests.rows import make_row, make_run


def host_rows() -> list[dict[str, Any]]:
    """A noise scale that grows fourfold over 20 logged steps of 512 tokens."""
    rows = []
    for k in range(1, 21):
        scale = 512 * 4 ** (k / 20)  # to 2,048; the geometric middle of the ratios is 1
        row = {"observations": 10_000 * k, "batch_observations": 512, "now": scale}
        row |= {"now_low": scale / 1.1, "now_high": scale * 1.1}
        rows.append({f"noise/{name}": value for name, value in row.items()} | {"loss": 1.0, "step": k})
    return rows


@pytest.fixture
def logs(tmp_path: Path) -> dict[str, Path]:
    rows = host_rows()
    paths = {name: tmp_path / name for name in ("trainer_state.json", "metrics.csv", "rows.jsonl")}
    paths["trainer_state.json"].write_text(json.dumps({"log_history": [{"eval_loss": 1.0}, *rows]}))
    paths["rows.jsonl"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    with paths["metrics.csv"].open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", *rows[0]])
        writer.writeheader()
        writer.writerow({"epoch": 0})
        writer.writerows(rows)
    return paths


def printed(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    assert main(["schedule", *map(str, words)]) == ExitCode.DONE
    return capsys.readouterr().out.rstrip("\n")


def test_every_log_gives_the_same_schedule(logs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    texts = {printed(capsys, path, "--format", "json") for path in logs.values()}
    assert len(texts) == 1
    found = json.loads(texts.pop())
    assert [stage["batch_observations"] for stage in found["stages"]] == [512, 1024, 2048]
    assert found["stages"][2]["sure_at_observations"] is None  # the ratios are wide
    text = printed(capsys, logs["rows.jsonl"])
    assert "not in this run" in text and "times the steps and" in text and "`--sure` leaves them out" in text


def test_a_folder_of_a_run_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "run", [make_row(iteration) for iteration in range(1, 60)])
    assert "from observation" in printed(capsys, tmp_path / "run")


def test_megatron_takes_tokens_and_sequences(logs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """ "THRESHOLD:BATCH ...", thresholds in tokens, batches in sequences, the first threshold 0."""
    text = printed(capsys, logs["rows.jsonl"], "--format", "megatron", "--observations-per-sample", "256")
    match = re.fullmatch(r'--step-batch-size-schedule "((?:\d+:\d+ ?)+)"', text)
    assert match
    pairs = [tuple(map(int, pair.split(":"))) for pair in match[1].split()]
    assert [batch for _, batch in pairs] == [2, 4, 8]
    assert pairs[0][0] == 0 and pairs[1][0] < pairs[2][0]


def test_lightning_takes_epochs_and_micro_batches(logs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--format", "lightning", "--epoch", "20000", "--micro-batch", "256")
    text = printed(capsys, logs["rows.jsonl"], *words)
    factors = ast.literal_eval(text[text.index("{") : text.index("}") + 1])
    assert min(factors) == 0 and list(factors.values()) == [2, 4, 8]
    callbacks = pytest.importorskip("lightning.pytorch.callbacks", reason="needs Lightning")
    assert callbacks.GradientAccumulationScheduler(scheduling=factors).scheduling == factors


def test_olmo_takes_tokens(logs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Each batch an integer multiple of the one before, and the first threshold 0: what OLMo-core checks."""

    class Duration:
        @staticmethod
        def tokens(count: int) -> int:
            return count

    text = printed(capsys, logs["rows.jsonl"], "--format", "olmo")
    found = eval(text, {"BatchSizeSchedulerCallback": dict, "Duration": Duration})
    assert found["batch_sizes"] == [512, 1024, 2048]
    assert found["schedule"][0] == 0 and found["schedule"] == sorted(set(found["schedule"]))


def test_csv_has_a_line_per_stage(logs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(printed(capsys, logs["rows.jsonl"], "--format", "csv").splitlines()))
    assert [row["batch_observations"] for row in rows] == ["512", "1024", "2048"]
    assert rows[0]["from_observations"] == "0" and rows[2]["sure_at"] == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--format", "megatrom"],
            "--format must be one of table, csv, json, megatron, lightning, olmo; got 'megatrom'",
        ),
        (["--format", "lightning"], "Lightning's schedule is by epoch: give the observations of one"),
        (
            ["--format", "megatron", "--observations-per-sample", "300"],
            "512 observations is not a whole number of samples",
        ),
        (["--least", "0"], "--least must be a positive whole number, got 0"),
        (["--least", "64", "--most", "32"], "--most must be at least --least, got 32 and 64"),
    ],
)
def test_mistakes_are_one_line(
    logs: dict[str, Path], capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["schedule", str(logs["rows.jsonl"]), *words]) == ExitCode.USER_ERROR
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_files_that_say_nothing_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = {"none.json": None, "list.json": "[1]", "bad.jsonl": "{", "empty.jsonl": json.dumps({"loss": 1.0})}
    for name, text in cases.items():
        path = tmp_path / name
        if text is not None:
            path.write_text(text)
        assert main(["schedule", str(path)]) == ExitCode.USER_ERROR
        error = capsys.readouterr().err
        assert name in error and error.count("\n") == 1
