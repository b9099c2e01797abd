"""The arguments of every command. Values stay text: the commands and the configuration convert them."""

from __future__ import annotations

import argparse
from typing import NoReturn

from rlgns import __version__
from rlgns.commands import help_texts
from rlgns.errors import UserError


class Parser(argparse.ArgumentParser):
    """A parser that raises UserError in place of printing its usage and leaving."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **kwargs,  # type: ignore[arg-type]
        )

    def error(self, message: str) -> NoReturn:
        """Raises UserError."""
        raise UserError(f"{message} (`{self.prog} --help` shows how)")


def make_parser() -> tuple[Parser, dict[str, Parser]]:
    """Returns the parser of the whole command line, and each command's by name."""
    parser = Parser(prog="rlgns", description=help_texts.RLGNS)
    parser.add_argument("--version", action="version", version=f"rlgns {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    train = commands.add_parser("train", help="train, with a live noise scale", description=help_texts.TRAIN)
    _add_settings(train)
    train.add_argument("--out", metavar="DIR", help="the run's folder (default: runs/GAME-DATE-TIME)")
    train.add_argument(
        "--resume", metavar="DIR", help="go on where the run in DIR stopped; beside it only --runners and --learners"
    )

    sweep = commands.add_parser(
        "sweep", help="batch sizes x learning rates to score goals", description=help_texts.SWEEP
    )
    _add_settings(sweep, config="shipped sweep or YAML file with a section sweep", seed=False)
    sweep.add_argument(
        "--out",
        metavar="DIR",
        help="the sweep's folder (default: runs/CONFIG-DATE-TIME); one that is there is gone on with",
    )
    sweep.add_argument("--resume", metavar="DIR", help="go on where the sweep in DIR stopped")
    sweep.add_argument("--parallel", metavar="N", help="trials at once (default: one per core, or per GPU)")
    sweep.add_argument("--price", metavar="P", help="money per core and hour, for the cost")
    sweep.add_argument("--dry-run", action="store_true", help="print the plan with estimated hours, train nothing")

    config = commands.add_parser("config", help="print the resolved configuration", description=help_texts.CONFIG)
    _add_settings(config)

    evaluate = commands.add_parser("evaluate", help="play games, print scores", description=help_texts.EVALUATE)
    evaluate.add_argument("checkpoint", metavar="CHECKPOINT", help="a run's folder, or one of its checkpoints")
    evaluate.add_argument("--episodes", metavar="N", default="30", help="full games to play (default: 30)")
    evaluate.add_argument("--video", metavar="FILE.mp4", help="film one more game")
    evaluate.add_argument("--seed", metavar="S", default="0", help="seed of games and actions (default: 0)")

    calibrate = commands.add_parser(
        "calibrate", help="true noise scale beside every estimator", description=help_texts.CALIBRATE
    )
    calibrate.add_argument("checkpoint", metavar="CHECKPOINT", help="a run's folder, or one of its checkpoints")
    calibrate.add_argument(
        "--observations", metavar="N", default="200000", help="most to play, whole rounds (default: 200000)"
    )
    calibrate.add_argument(
        "--precision", metavar="P", default="0.05", help="relative standard error that is enough (default: 0.05)"
    )
    calibrate.add_argument("--seed", metavar="S", default="0", help="seed of the games (default: 0)")
    calibrate.add_argument(
        "--line-search", action="store_true", help="B_noise instead: best step size by batch size, and by the Hessian"
    )
    calibrate.add_argument("--json", action="store_true", help="print the numbers")

    report = commands.add_parser("report", help="one HTML file about runs and sweeps", description=help_texts.REPORT)
    report.add_argument("folders", metavar="DIR", nargs="+", help="runs, folders of runs, sweeps, CSV files of points")
    report.add_argument("--out", metavar="FILE.html", help="(default: report.html in DIR, or here for several)")
    report.add_argument("--figures", metavar="DIR", help="the figures too, as PNG and SVG (needs Chrome or Chromium)")
    report.add_argument("--json", action="store_true", help="print the numbers, write no file")

    fit = commands.add_parser("fit", help="critical batch of a sweep's points", description=help_texts.FIT)
    fit.add_argument("points", metavar="POINTS", help="a CSV file of points, or a sweep's folder")
    fit.add_argument(
        "--adaptive", metavar="RUN", nargs="+", help="runs with an adaptive batch, to be put beside the fixed batches"
    )
    fit.add_argument("--level", metavar="P", default="0.95", help="confidence of the intervals (default: 0.95)")
    fit.add_argument("--json", action="store_true", help="print every number, for programs")

    submit = commands.add_parser("submit", help="run a command as a Ray job", description=help_texts.SUBMIT)
    submit.add_argument("--address", metavar="A", help="the cluster's dashboard, http://HOST:8265")
    submit.add_argument("--job", metavar="ID", help="follow a job that was submitted before")
    submit.add_argument("--no-wait", action="store_true", help="return once the job is submitted")
    submit.add_argument(
        "--write",
        metavar="FILE",
        nargs="+",
        help="submit nothing; write ray-cluster.yaml (ray up), rayjob.yaml (KubeRay)",
    )
    submit.add_argument("--image", metavar="NAME", default="rlgns:latest", help="image named in what --write writes")
    submit.set_defaults(remote=None)

    workspace = commands.add_parser(
        "workspace", help="ready-made panels for a W&B project", description=help_texts.WORKSPACE
    )
    workspace.add_argument("--entity", metavar="E", default="", help="W&B user or team (default: the login's own)")
    workspace.add_argument("--project", metavar="P", default="rlgns", help="W&B project of the runs (default: rlgns)")
    workspace.add_argument("--write", metavar="FILE.json", help="install nothing; write the workspace's JSON")

    commands.add_parser("games", help="list games with goals and reference scores")
    doctor = commands.add_parser("doctor", help="say what is wrong with this machine or cluster")
    doctor.add_argument(
        "--address",
        metavar="A",
        help="check a cluster: http://HOST:8265, or on a node HOST:6379 (default: RAY_ADDRESS)",
    )
    doctor.add_argument("--out", metavar="DIR", help="folder that runs would go to (default: $RLGNS_RUNS or runs)")
    return parser, dict(commands.choices)


def _add_settings(
    parser: Parser, *, config: str = "preset (ppo, a2c-paper, quick) or YAML file (default: by GPU)", seed: bool = True
) -> None:
    """The arguments that say what to train. Values stay text: the configuration converts them."""
    parser.add_argument("--config", metavar="FILE", help=config)
    parser.add_argument("--game", metavar="G", nargs="+", help="games to train (default: pong)")
    parser.add_argument("--observations", metavar="N", help="observations per game")
    if seed:
        parser.add_argument("--seed", metavar="S", help="seed of everything random")
    parser.add_argument("--batch", metavar="MODE", help="fixed, or adaptive: as the noise scale asks (default: fixed)")
    parser.add_argument("--runners", metavar="N", help="remote Ray actors that play (0: the learner's process plays)")
    parser.add_argument("--learners", metavar="L", help="remote Ray actors that learn as one (0: in one process)")
    parser.add_argument(
        "--async-lag", metavar="1", help="play the next rollout while learning from this one, with weights 1 update old"
    )
