"""Each mistake on the command line is one line on standard error, exit code 2, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlgns.commands import cli
from rlgns.errors import ExitCode

MISTAKES = [
    ("", "which command?"),
    ("trian", "unknown command 'trian' (did you mean train?)"),
    ("train --game pongg", "unknown game 'pongg' (did you mean pong?)"),
    ("train --config quik", "unknown preset 'quik' (did you mean quick?)"),
    ("train --config none.yaml", "no configuration file none.yaml"),
    ("train --env.num_env 8", "env.num_env: unknown key (did you mean env.num_envs?)"),
    ("train --num-envs 8", "(did you mean --env.num_envs?)"),
    ("train --obs 8", "(did you mean --observations?)"),
    ("train --hepl", "(did you mean --help?)"),
    ("train -H", "unknown argument '-H'; `rlgns train --help` lists them"),
    ("train --preset quick", "(did you mean --config?)"),
    ("sweep --num-workers=8", "(did you mean --runners?)"),
    ("config --lr 1e-3", "(did you mean --agent.learning_rate?)"),
    ("train --set agent.gamma=0.9", "(a setting is an argument itself: --section.key VALUE)"),
    ("report --preset quick", "unknown argument '--preset'; `rlgns report --help` lists them"),
    ("train --env.num_envs", "--env.num_envs needs a value"),
    ("train --env.num_envs --seed 3", "--env.num_envs needs a value"),
    ("train --env.num_envs 8 --env.num_envs=16", "--env.num_envs is given twice"),
    ("train --env.num_envs abc", "env.num_envs: 'abc' is not a whole number"),
    ("train --seed abc", "run.seed: 'abc' is not a whole number"),
    ("train --seed 1 --run.seed 2", "--seed and --run.seed are the same setting"),
    ("train --observations 0", "run.observations must be positive, got 0"),
    ("train --observations -5", "run.observations must be positive, got -5"),
    ("train --runners -1", "engine.runners must be zero or positive, got -1"),
    ("train --config ppo --learners -2", "engine.learners must be zero or positive, got -2"),
    ("train --config ppo --async-lag 1", "engine.runners must be at least 1, got 0"),
    ("train --config ppo --runners 2 --async-lag 2", "engine.async_lag must be 0 or 1, got 2"),
    ("train --async-lag 1 --engine.async_lag 1", "--async-lag and --engine.async_lag are the same setting"),
    ("train --config ppo --agent.minibatches 3", "agent.minibatches must divide env.num_envs"),
    ("train --config ppo --agent.minibatches 8", "noise.groups"),
    ("train --game", "--game"),
    ("train pong", "unknown argument 'pong'"),
    ("train --resume none --seed 3 --env.num_envs 8", "leave out --seed, --env.num_envs"),
    ("train --resume none --runners 2 --learners 2 --async-lag 1", "leave out --async-lag"),
    ("train --resume none --engine.learners 2 --engine.threads 1", "leave out --engine.threads"),
    ("train --config ppo --out file/run", "file/run: cannot be written: Not a directory"),
    ("train --config ppo --out file", "file: cannot be written: File exists"),
    ("train --config ppo --out /proc/rlgns", "/proc/rlgns: cannot be written"),
    ("train --config ppo --out full", "rlgns train --resume full"),
    ("train --config ppo --out " + "x" * 300, "cannot be written: File name too long"),
    ("sweep", "which sweep? give --config FILE"),
    ("sweep --config breakot-quick", "unknown sweep 'breakot-quick' (did you mean breakout-quick?)"),
    ("sweep --config quick", "unknown sweep 'quick'"),
    ("sweep --config breakout-quick --sweep.batches 100", "must be multiples of agent.rollout_steps 16, got 100"),
    ("sweep --config breakout-quick --seed 1", "unknown argument '--seed'"),
    ("sweep --config breakout-quick --run.seed 1", "give --sweep.seeds"),
    ("sweep --config breakout-quick --game pongg", "unknown game 'pongg' (did you mean pong?)"),
    ("sweep --config breakout-quick --parallel 2 --sweep.parallel 2", "are the same setting"),
    ("sweep --config breakout-quick --out full", "full is not empty and holds no sweep"),
    ("sweep --config breakout-quick --out /proc/rlgns", "/proc/rlgns: cannot be written"),
    ("sweep --config breakout-quick --out file", "file: cannot be written"),
    ("sweep --resume none", "no sweep found in none"),
    ("sweep --resume none --out here", "leave out --out"),
    ("sweep --resume none --game pong --sweep.seeds 1", "leave out --game, --sweep.seeds"),
    ("submit -- sweep", "which sweep? give --config FILE"),
    ("submit -- sweep --config breakot-quick", "did you mean breakout-quick?"),
    ("submit -- sweep --config breakout-quick --sweep.batches 100", "must be multiples of agent.rollout_steps 16"),
    ("submit -- sweep --resume here --parallel 2 --game pong", "leave out --game"),
    ("config --env.num_envs 1000000007", "env.num_envs must be at most 1,000,000, got 1000000007"),
    ("config --env.num_envs 1e30", "env.num_envs: '1e30' is too large"),
    ("config --learners 999999999", "engine.learners must be at most 10,000, got 999999999"),
    ("config --network.hidden 100000000000", "network.hidden must be at most 1,000,000, got 100000000000"),
    ("config --network.channels 32,64,99999", "network.channels must be at most 16,384, got (32, 64, 99999)"),
    ("config --batch adaptive --env.num_envs 524288", "adaptive.largest_envs must be at most 1,000,000, got 8388608"),
    ("config --observations 1e18", "run.observations must be at most 1,000,000,000,000,000"),
    ("config --run.name \x1b[31m --seed \x1b[31m", "run.seed: '\\x1b[31m' is not a whole number"),
    ("config --out here", "unknown argument '--out'"),
    ("evaluate", "CHECKPOINT"),
    ("evaluate none --episodes 0", "--episodes must be positive, got 0"),
    ("evaluate none --episodes many", "--episodes: 'many' is not a whole number"),
    ("evaluate none --seed -1", "--seed must be zero or positive, got -1"),
    ("report", "DIR"),
    ("report none", "cannot read none"),
    ("report " + "x" * 300, "cannot be read: File name too long"),
    ("fit " + "x" * 300, "cannot be read: File name too long"),
    ("config --config " + "x" * 300, "cannot be read: File name too long"),
    ("report none --env.num_envs 8", "takes no settings such as --env.num_envs"),
    ("games --all", "unknown argument '--all'"),
]


@pytest.mark.parametrize(("line", "words"), MISTAKES)
def test_a_mistake_is_one_line_exit_code_2_and_leaves_nothing(
    line: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "metrics.jsonl").touch()
    check_mistake(line, words, tmp_path, capsys)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("report run --json --out x.html", "leave out --json or --out"),
        ("report run --out /proc/rlgns.html", "/proc/rlgns.html"),
        ("evaluate run", "checkpoint"),
        ("evaluate none", "none"),
        ("train --config ppo --out run", "rlgns train --resume run"),
    ],
)
def test_a_mistake_about_a_run_leaves_it_as_it_is(
    line: str, words: str, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_mistake(line, words, run_folder, capsys)


def test_a_broken_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.yaml").write_text("env: {num_envs: [8\nagent:\n")
    check_mistake("train --config broken.yaml", "broken.yaml: is not valid YAML: line", tmp_path, capsys)


def check_mistake(line: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs a command line and checks exit code, output and that nothing below the folder is new."""
    before = sorted(folder.rglob("*"))
    assert cli.main(line.split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("rlgns: ")
    assert output.err.count("\n") == 1
    assert words in output.err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("arguments", [["train", "--game", "pong"], ["config"], ["report", "runs"], ["doctor"]])
def test_a_working_directory_that_is_gone_is_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    place.rmdir()
    assert cli.main(arguments) == ExitCode.USER_ERROR
    expected = "rlgns: the working directory has been removed; change to another one with `cd`\n"
    assert capsys.readouterr().err == expected
