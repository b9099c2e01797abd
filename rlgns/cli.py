"""The command `rlgns`: parses arguments, runs a command, turns mistakes into one line and an exit code.

Imports nothing heavy: torch and Ray are imported by the commands that need them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from rlgns import __version__
from rlgns.errors import FaultError, UserError, nearest
from rlgns.guard import check_packages

DONE, USERS_MISTAKE, FAULT, INTERRUPTED = 0, 2, 3, 130

_DESCRIPTION = """\
PPO on Atari that tells you, while it trains, how large a batch is still worth paying for.

examples:
  rlgns train                                       Pong, with the preset that suits this machine
  rlgns train --game breakout --observations 200000
  rlgns train --config a2c-paper --env.num_envs 64
  rlgns train --resume runs/pong-20260101-120000
  rlgns report runs/pong-20260101-120000 --json

exit codes: 0 done, 2 your mistake, 3 stopped by a fault after saving, 130 interrupted after saving
"""

_TRAIN_DESCRIPTION = """\
Trains each game until its observations are used up, or goes on where a run stopped.

examples:
  rlgns train --game pong --seed 1
  rlgns train --game pong breakout --config ppo --out runs/two-games
  rlgns train --config mine.yaml --agent.learning_rate 1e-3 --network.channels 16,32
  rlgns train --game pong --runners 8 --learners 2
  rlgns train --batch adaptive --adaptive.largest_envs 256
  rlgns train --resume runs/two-games

Every key can be set by --section.key VALUE; `rlgns config` prints them all with the values that a run would use.
"""

_SWEEP_DESCRIPTION = """\
Trains at many batch sizes, tunes the learning rate for each, and writes down what every score goal took: points.csv.
Games x batch sizes x learning rates x seeds, each a run of its own; what is there already is never trained again.

examples:
  rlgns sweep --config breakout-quick --dry-run
  rlgns sweep --config breakout-quick --out runs/breakout
  rlgns sweep --config mine.yaml --sweep.batches 64,256,1024 --sweep.seeds 0,1 --sweep.goals 2,10
  rlgns sweep --resume runs/breakout

Shipped sweeps: breakout-quick, pong-quick (1 to 2 hours on 2 cores), paper-a2c (a cluster's work). docs/sweeps.md says
what is decided how. Every key can be set by --section.key VALUE, those of the section `sweep` too.
"""

_CONFIG_DESCRIPTION = """\
Prints the configuration that `rlgns train` with the same arguments would use, as YAML that --config reads again,
and what follows from it: sizes of rollout, batch and groups, the hardware, and which process gets what of it (of the
cluster that RAY_ADDRESS names, where it does).

examples:
  rlgns config
  rlgns config --config a2c-paper > mine.yaml
"""

_SUBMIT_DESCRIPTION = """\
Runs a command as a job on a Ray cluster: sends this source along, shows the log, hands Ctrl-C on as a stop that saves
first (twice: leaves it), and returns the command's exit code. The run goes below $RLGNS_RUNS of the cluster's nodes
(default: ~/runs), which all of them must share, unless --out names another folder.

examples:
  rlgns submit --address http://HEAD:8265 -- train --game pong --runners 8
  rlgns submit --address http://HEAD:8265 -- sweep --config breakout-quick
  rlgns submit --job rlgns-pong-20260101-120000-ab12      go on following
  rlgns submit --write ray-cluster.yaml rayjob.yaml -- train --game pong --runners 8

Without --address: RAY_API_SERVER_ADDRESS, else RAY_ADDRESS, else this machine. docs/cluster.md has more.
"""

_CALIBRATE_DESCRIPTION = """\
Freezes a trained policy and plays until its |G|^2 and tr(Sigma) are known to the asked precision, or the observations
are used up: the truth. Beside it stands every on-line estimator on the same games, ours and other tools', with its
bias, spread and cost. Ctrl-C prints what is known so far.

examples:
  rlgns calibrate runs/pong-20260101-120000
  rlgns calibrate runs/pong-20260101-120000/checkpoints/00000400 --observations 500000 --precision 0.02 --json
  rlgns calibrate runs/pong-20260101-120000 --line-search
"""

_EVALUATE_DESCRIPTION = """\
Plays full games with a trained policy and prints its scores under the protocol that it was trained with.

examples:
  rlgns evaluate runs/pong-20260101-120000 --episodes 30
  rlgns evaluate runs/pong-20260101-120000 --video pong.mp4
"""

_REPORT_DESCRIPTION = """\
Writes one self-contained HTML file about runs, sweeps and tables of points, or prints the numbers behind it. DIR is a
run's folder, a folder of runs, a sweep's folder, or a CSV file with a sweep's points.

examples:
  rlgns report runs/pong-20260101-120000
  rlgns report runs/pong-* --out pong.html
  rlgns report runs/breakout --figures runs/breakout/figures
  rlgns report points.csv --out points.html
  rlgns report runs/pong-20260101-120000 --json > numbers.json
"""

_FIT_DESCRIPTION = """\
Fits the trade-off S = S_min (1 + B_crit / B) between optimizer steps and batch size to a sweep's points, for every game
and score goal. POINTS is a CSV file with the columns game, goal_score, batch_observations, optimizer_steps and
observations, or the folder of a sweep.

examples:
  rlgns fit points.csv
  rlgns fit runs/breakout-quick-20260101-120000 --json > fits.json
  rlgns fit runs/breakout-quick-20260101-120000 --adaptive runs/breakout-20260102-120000
"""


_WORKSPACE_DESCRIPTION = """\
Installs ready-made panels in a W&B project, as a saved view named rlgns: score against the reference scores, critical
batch against the batch in use, noise scale with its interval, ladder, views of the probe, throughput. A second time
brings that view up to date.

examples:
  rlgns workspace
  rlgns workspace --entity my-team --project atari
  rlgns workspace --write workspace.json           its JSON, without a login
"""


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
    parser = Parser(prog="rlgns", description=_DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"rlgns {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    train = commands.add_parser("train", help="train, with a live noise scale", description=_TRAIN_DESCRIPTION)
    _add_settings(train)
    train.add_argument("--out", metavar="DIR", help="the run's folder (default: runs/GAME-DATE-TIME)")
    train.add_argument(
        "--resume", metavar="DIR", help="go on where the run in DIR stopped; beside it only --runners and --learners"
    )

    sweep = commands.add_parser(
        "sweep", help="batch sizes x learning rates to score goals", description=_SWEEP_DESCRIPTION
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

    config = commands.add_parser("config", help="print the resolved configuration", description=_CONFIG_DESCRIPTION)
    _add_settings(config)

    evaluate = commands.add_parser("evaluate", help="play games, print scores", description=_EVALUATE_DESCRIPTION)
    evaluate.add_argument("checkpoint", metavar="CHECKPOINT", help="a run's folder, or one of its checkpoints")
    evaluate.add_argument("--episodes", metavar="N", default="30", help="full games to play (default: 30)")
    evaluate.add_argument("--video", metavar="FILE.mp4", help="film one more game")
    evaluate.add_argument("--seed", metavar="S", default="0", help="seed of games and actions (default: 0)")

    calibrate = commands.add_parser(
        "calibrate", help="true noise scale beside every estimator", description=_CALIBRATE_DESCRIPTION
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

    report = commands.add_parser("report", help="one HTML file about runs and sweeps", description=_REPORT_DESCRIPTION)
    report.add_argument("folders", metavar="DIR", nargs="+", help="runs, folders of runs, sweeps, CSV files of points")
    report.add_argument("--out", metavar="FILE.html", help="(default: report.html in DIR, or here for several)")
    report.add_argument("--figures", metavar="DIR", help="the figures too, as PNG and SVG (needs Chrome or Chromium)")
    report.add_argument("--json", action="store_true", help="print the numbers, write no file")

    fit = commands.add_parser("fit", help="critical batch of a sweep's points", description=_FIT_DESCRIPTION)
    fit.add_argument("points", metavar="POINTS", help="a CSV file of points, or a sweep's folder")
    fit.add_argument(
        "--adaptive", metavar="RUN", nargs="+", help="runs with an adaptive batch, to be put beside the fixed batches"
    )
    fit.add_argument("--level", metavar="P", default="0.95", help="confidence of the intervals (default: 0.95)")
    fit.add_argument("--json", action="store_true", help="print every number, for programs")

    submit = commands.add_parser("submit", help="run a command as a Ray job", description=_SUBMIT_DESCRIPTION)
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
        "workspace", help="ready-made panels for a W&B project", description=_WORKSPACE_DESCRIPTION
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


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Takes `--section.key VALUE` and `--section.key=VALUE` out of the arguments.

    Returns:
        The other arguments, and key to value.

    Raises:
        UserError: A key without a value, or given twice.
    """
    others: list[str] = []
    overrides: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        key, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or "." not in key:
            others.append(argument)
            continue
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise UserError(f"{argument} needs a value")
            value = rest.pop(0)
        if key in overrides:
            raise UserError(f"--{key} is given twice")
        overrides[key] = value
    return others, overrides


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Returns the parsed command and its overrides. Raises UserError with the nearest match of what is unknown."""
    parser, commands = make_parser()
    remote: list[str] | None = None
    if arguments[:1] == ["submit"] and "--" in arguments:
        here = arguments.index("--")
        arguments, remote = arguments[:here], list(arguments[here + 1 :])
    others, overrides = split_overrides(arguments)
    if others and not others[0].startswith("-") and others[0] not in commands:
        raise UserError(f"unknown command {others[0]!r}{nearest(others[0], commands)}; `rlgns --help` lists them")
    options, unknown = parser.parse_known_args(others)
    if options.command is None:
        parser.error("which command?")
    if unknown:
        parser.error(f"unknown argument {unknown[0]!r}{_nearest_option(unknown[0], commands[options.command])}")
    if overrides and options.command not in ("train", "sweep", "config"):
        raise UserError(f"rlgns {options.command} takes no settings such as --{next(iter(overrides))}")
    if remote is not None:
        options.remote = remote
    return options, overrides


def _nearest_option(argument: str, parser: Parser) -> str:
    """The command's option nearest to `argument`, or the key whose last part it is (`--num-envs`)."""
    options = [option for action in parser._actions for option in action.option_strings]
    if "--config" in options:
        from rlgns.config.load import all_keys

        key = argument.removeprefix("--").partition("=")[0].replace("-", "_")
        for dotted in all_keys():
            if dotted.partition(".")[2] == key:
                return f" (did you mean --{dotted}?)"
    longer = [option for option in options if len(argument) > 2 and option.startswith(argument)]
    return nearest(argument, longer or options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line and returns the exit code: 0 done, 2 the user's mistake, 3 a fault, 130 interrupted."""
    # OpenMP threads that spin while they wait turn 3 s into 40 s on a busy machine; read when torch is loaded
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if list(arguments[:1]) != ["doctor"]:  # which has this check among its own
            check_packages()
        options, overrides = parse(arguments)
        from rlgns import commands

        code = commands.run(options, overrides)
        sys.stdout.flush()
        return code
    except UserError as mistake:
        print(f"rlgns: {_one_line(mistake)}", file=sys.stderr)
        return USERS_MISTAKE
    except FaultError as fault:
        print(f"rlgns: {_one_line(fault)}", file=sys.stderr)
        return FAULT
    except KeyboardInterrupt:
        print("rlgns: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # `rlgns games | head`: the reader has all it wanted; Python would complain again when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
