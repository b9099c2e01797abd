"""The kinds of damaged input: each makes the files of one case from its seed, and says which command reads them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlgns.config.files import presets
from rlgns.config.load import all_keys
from rlgns.critical.points import COLUMNS
from tests.fuzz.checkpoints import make_checkpoint
from tests.fuzz.mutations import JSON_VALUES, NUMBERS, PLAIN, YAML_VALUES, damaged, damaged_words, number_or_text
from tests.rows import make_null_row, make_probed_row, make_row, make_run
from tests.sweep_files import TRUTH, make_point, write_points

YAML_VALUE = r"(?m)(?:^|[:,\[{] )([^\n:,\[\]{}]+?)(?=[,\]}]|$)"
CELL = r"(?:^|[,\n])([^,\n]*)"
JSON_VALUE = r'(?:": |":|[\[,] ?)("[^"]*"|\[[^\[\]]*\]|[^,\[\]{}"]+)'


def command_line(draw: random.Random, folder: Path) -> list[str]:
    """Returns a damaged command line."""
    make_run(folder / "run", [make_row(1)])
    _write_table(folder / "points.csv", draw)
    key, value = draw.choice(all_keys()), draw.choice(draw.choice((NUMBERS, PLAIN)))
    name, *words = draw.choice(
        (
            ["config", "--config", "ppo", f"--{key}", value],
            ["config", "--config", "quick", f"--{key}={value}", f"--{draw.choice(all_keys())}", number_or_text(draw)],
            ["config", "--config", "a2c-paper", "--game", "pong", "breakout", "--observations", value],
            ["config", "--config", "ppo", "--batch", "adaptive", "--adaptive.largest_envs", value],
            ["config", "--config", "ppo", "--runners", value, "--learners", draw.choice(NUMBERS), "--async-lag", "1"],
            ["fit", "points.csv", "--level", value],
            ["fit", "points.csv", "--json", "--adaptive", "run"],
            ["report", "run", "points.csv", "--json"],
            ["games"],
        )
    )
    # the command itself stays: others train, or look for a cluster
    words = words if draw.random() < 0.3 else damaged_words(draw, words)
    return [name, *(word for word in words if not word.startswith(("--out", "--fig", "/")))]


def config_file(draw: random.Random, folder: Path) -> list[str]:
    """Returns the command that reads a damaged configuration."""
    text = draw.choice(sorted(presets().values())).read_text()
    if draw.random() < 0.5:
        text = "base: ppo\n" + text
    (folder / "mine.yaml").write_text(damaged(draw, text, YAML_VALUE, YAML_VALUES), encoding="utf-8")
    return ["config", "--config", "mine.yaml"]


def points_table(draw: random.Random, folder: Path) -> list[str]:
    """Returns the command that reads a damaged table of points."""
    text = damaged(draw, _write_table(folder / "points.csv", draw), CELL)
    (folder / "points.csv").write_text(text, encoding="utf-8", newline="")
    return draw.choice((["fit", "points.csv"], ["fit", "points.csv", "--json"], ["report", "points.csv", "--json"]))


def run_folder(draw: random.Random, folder: Path) -> list[str]:
    """Returns the command that reads a run with damaged metrics or a damaged config.yaml."""
    count = draw.choice((1, 2, 12))
    make = draw.choice((make_row, make_probed_row))
    rows = [make(number, of=count) for number in range(1, count + 1)] + [make_null_row(count + 1)] * draw.randrange(2)
    if draw.random() < 0.3:
        rows = [row | {"batch_mode": "adaptive"} for row in rows]
    run = make_run(folder / "run", rows)
    if draw.random() < 0.3:
        content = damaged(draw, run.config_path.read_text(), YAML_VALUE, YAML_VALUES)
        run.config_path.write_text(content, encoding="utf-8")
    else:
        content = run.metrics_path.read_text()
        if draw.random() < 0.5:
            content = _with_one_value(draw.choice(sorted(rows[0])), draw.choice(JSON_VALUES), rows)
        else:
            content = damaged(draw, content, JSON_VALUE, JSON_VALUES)
        run.metrics_path.write_text(content, encoding="utf-8")
    _write_table(folder / "points.csv", draw)
    return draw.choice(
        (
            ["report", "run", "--json"],
            ["report", "run", "--json"],
            ["report", "run", "--out", "page.html"],
            ["fit", "points.csv", "--adaptive", "run"],
        )
    )


def checkpoint(draw: random.Random, folder: Path) -> list[str]:
    """Returns the command that plays with the policy of a damaged checkpoint."""
    make_checkpoint(draw, folder / "run")
    return ["evaluate", "run", "--episodes", "1"]


KINDS: dict[str, Callable[[random.Random, Path], list[str]]] = {
    "command lines": command_line,
    "YAML files": config_file,
    "tables of points": points_table,
    "run folders": run_folder,
    "checkpoints": checkpoint,
}
"""Every kind of case, by name."""


def _with_one_value(key: str, value: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns metrics.jsonl with the same text as the value of a key in all rows, as another program may write it."""
    return "".join(json.dumps({**row, key: "<value>"}).replace('"<value>"', value) + "\n" for row in rows)


def _write_table(path: Path, draw: random.Random) -> str:
    """Writes a table of points, some of them exactly on the law, and returns its text."""
    noise, seeds = draw.choice((0.0, 0.05, 0.3)), draw.choice((1, 2, 3))
    batches = draw.choice(((64, 128, 256, 512), (64, 256), (32, 64, 128, 256, 512, 1024, 2048)))
    game = draw.choice(sorted(TRUTH))
    points = [
        make_point(game, goal, batch, seed=seed, noise=noise)
        for goal in TRUTH[game]
        for batch in batches
        for seed in range(seeds)
    ]
    if draw.random() < 0.3:  # the same steps at every batch size, or as many observations
        points = [
            point | {"optimizer_steps": draw.choice((100, 6400 / point["batch_observations"]))} for point in points
        ]
    assert set(points[0]) == set(COLUMNS)
    return write_points(path, points).read_text()
