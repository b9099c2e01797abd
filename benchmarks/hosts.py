"""Compares the noise scale of three hosts with equal settings: Stable-Baselines3, RLlib and rlgns.

    python -m benchmarks.hosts DIR --checkpoint CHECKPOINT [--csv FILE] [--only NAME ...]

CHECKPOINT is one of a run of Pong under the preset `quick`. Every piece has a process and a file in DIR; what is there
is not measured again. The plan, written before: docs/notes/hosts.md.

    same            the same rollouts of the checkpoint's policy, measured by all three
    frozen          each host plays with one policy, which nothing changes: Pong with the checkpoint's and brute force
                    beside it, the other games with their first weights
    cartpole, lunarlander, pong     training; LunarLander needs Box2D
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.host_runs.page import page
from benchmarks.host_runs.settings import GAMES, HOSTS, HostRun
from rlgns.machine.commit import source_commit

ROOT = Path(__file__).parent.parent

SAME_ROLLOUTS, CALIBRATION_ROUNDS = 22, 16
FROZEN_ROLLOUTS = {"pong": 52, "cartpole": 62, "lunarlander": 32}
SEEDS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """One process's work."""

    part: str
    """Of the comparison, as `--only` names it."""
    kind: str
    """As the worker names it."""
    run: HostRun

    @property
    def name(self) -> str:
        """Of its file."""
        return self.run.name if self.kind in HOSTS else self.kind


def pieces(checkpoint: str, parts: Sequence[str], seeds: int) -> list[Piece]:
    """Returns everything to measure, the sharpest comparison first."""
    pong = GAMES["pong"]
    found = [Piece(part="same", kind="same", run=pong.frozen(checkpoint, SAME_ROLLOUTS))]
    for game, rollouts in FROZEN_ROLLOUTS.items():
        for host in HOSTS[:2]:
            run = GAMES[game].frozen(checkpoint if game == "pong" else "", rollouts)
            found.append(Piece(part="frozen", kind=host, run=dataclasses.replace(run, host=host)))
    found.append(Piece(part="frozen", kind="calibrate", run=pong.frozen(checkpoint, CALIBRATION_ROUNDS)))
    for seed in range(seeds):
        for game, settings in GAMES.items():
            for host in HOSTS if game == "pong" else HOSTS[:2]:
                found.append(Piece(part=game, kind=host, run=dataclasses.replace(settings, host=host, seed=seed)))
    return [piece for piece in found if piece.part in parts]


def measure(piece: Piece, folder: Path) -> None:
    """Measures a piece in a separate process, unless its file is there. Raises CalledProcessError where it fails."""
    file = folder / f"{piece.name}.json"
    if file.exists():
        return
    text = json.dumps(dataclasses.asdict(piece.run))
    command = [sys.executable, "-m", "benchmarks.host_runs.worker", piece.kind, text, str(file)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    with open(folder / f"{piece.name}.log", "w", encoding="utf-8") as log:
        subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=True)
    print(f"{piece.name}: {json.loads(file.read_text())['wall_s']:.0f} s", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures what is missing and prints the tables. Returns 1 where a piece failed; the others are on the page."""
    parts = ("same", "frozen", *GAMES)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hosts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--checkpoint", metavar="CHECKPOINT", default="", help="for the parts `same` and `frozen`")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, metavar="NAME", help="parts")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of each training (%(default)s)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the rows of all pieces")
    options = parser.parse_args(arguments)
    wanted = [part for part in options.only if options.checkpoint or part not in ("same", "frozen")]
    options.folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for piece in pieces(str(Path(options.checkpoint).resolve()), wanted, options.seeds):
        try:
            measure(piece, options.folder)
        except subprocess.CalledProcessError as failure:
            failed.append(f"{piece.name} ended with code {failure.returncode}: see its log")
            print(failed[-1], file=sys.stderr, flush=True)
    text, rows = page(options.folder, source_commit())
    print(text)
    if options.csv:
        options.csv.write_text(rows, encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
