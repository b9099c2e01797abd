"""The command line: results on standard output, each mistake one line on standard error, exit codes, nothing left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rlgns import cli, commands
from rlgns.config.load import resolve, to_dict
from rlgns.errors import FaultError, UserError
from rlgns.monitor.keys import REQUIRED
from rlgns.storage.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rlgns(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the real command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "rlgns", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


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
    ("submit -- sweep --resume here --parallel 2 --observations 5", "leave out --observations"),
    ("config --out here", "unknown argument '--out'"),
    ("evaluate", "CHECKPOINT"),
    ("evaluate none --episodes 0", "--episodes must be positive, got 0"),
    ("evaluate none --episodes many", "--episodes: 'many' is not a whole number"),
    ("evaluate none --seed -1", "--seed must be zero or positive, got -1"),
    ("report", "DIR"),
    ("report none", "cannot read none"),
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
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(line.split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("rlgns: ")
    assert output.err.count("\n") == 1
    assert words in output.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_broken_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.yaml").write_text("env: {num_envs: [8\nagent:\n")
    assert cli.main(["train", "--config", "broken.yaml"]) == 2
    assert "broken.yaml: is not valid YAML: line" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["broken.yaml"]


def test_the_real_command_fails_without_a_traceback() -> None:
    finished = rlgns("train", "--game", "breakot")
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == (
        "rlgns: run.games: unknown game 'breakot' (did you mean breakout?); `rlgns games` lists all 57\n"
    )


def test_light_commands_import_nothing_heavy() -> None:
    program = (
        "import sys; from rlgns.commands.cli import main; assert main(['games']) == 0; "
        "heavy = {'torch', 'ray', 'wandb', 'plotly', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert finished.returncode == 0, finished.stderr


def test_openmp_threads_do_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert cli.main(["games"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_games_lists_all_with_scores_and_goals(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["games"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 58
    pong = next(line for line in lines if line.startswith("pong ")).split()
    assert pong[1:4] == ["Pong", "-20.7", "14.6"]
    assert pong[5:] == ["-19", "0", "19"]
    assert any(line.startswith("surround ") for line in lines)


def test_config_prints_yaml_that_can_be_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["config", "--config", "ppo", "--game", "pong", "MsPacman", "--seed", "5", "--agent.gamma=0.9"]
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    (tmp_path / "again.yaml").write_text(text)
    expected = resolve(["ppo"], {"run.games": "pong,ms_pacman", "run.seed": 5, "agent.gamma": 0.9})
    assert yaml.safe_load(text) == to_dict(expected)
    assert resolve([tmp_path / "again.yaml"]) == expected
    for line in ("# rollout     1,024", "# batch       256", "# groups      2", "# iterations  9,766", "# hardware "):
        assert line in text
    for line in (
        "one machine with ",
        "# driver      learns and plays 8 environments: ",
        "# memory      about ",
    ):
        assert line in text


def test_config_places_on_this_machine_where_no_cluster_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert cli.main(["config", "--config", "ppo", "--runners", "4", "--learners", "2"]) == 0
    output = capsys.readouterr()
    assert output.err.startswith("RAY_ADDRESS: no Ray cluster answers at '127.0.0.1:1' (")
    assert output.err.count("\n") == 1
    for line in ("# placement   one machine with", "# learners    2, each ", "# runners     4, each ", "# objects "):
        assert line in output.out


def test_a_run_is_gone_on_with_by_other_runners_and_learners(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import rlgns.train as training

    seen = []
    monkeypatch.setattr(training, "_session", lambda starts, out: seen.extend(starts) or 0)
    about = yaml.safe_load((run_folder / "config.yaml").read_text())
    about["run"]["wandb_id"] = "abc"
    (run_folder / "config.yaml").write_text(yaml.safe_dump(about))
    saved = (run_folder / "config.yaml").read_bytes()
    assert cli.main(["train", "--resume", str(run_folder), "--runners", "4", "--engine.learners", "2"]) == 0
    (start,) = seen
    assert start.config == resolve(["ppo"], {"engine.runners": 4, "engine.learners": 2})
    assert (run_folder / "config.yaml").read_bytes() == saved
    assert cli.main(["train", "--resume", str(run_folder), "--runners", "3"]) == 2  # 8 environments


def test_config_says_between_what_an_adaptive_batch_moves(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--config", "ppo", "--batch", "adaptive"]) == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["agent"]["batch"] == "adaptive"
    assert "# adaptive    from 256 to 4,096 observations per optimizer step (8 to 128 envs)" in text
    assert cli.main(["config", "--batch", "fixed", "--agent.batch", "adaptive"]) == 2
    assert "--batch and --agent.batch are the same setting" in capsys.readouterr().err


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run of three iterations without a checkpoint."""
    folder = RunFolder(tmp_path / "run")
    folder.create(to_dict(resolve(["ppo"])), {"game": "pong"})
    for iteration in (1, 2, 3):
        numbers = {"iteration": iteration, "observations": 1024 * iteration, "seconds": 2.0 * iteration}
        folder.append({**dict.fromkeys(REQUIRED), "game": "pong", **numbers, "score_mean": -20.5})
    return folder.path


def test_report_writes_a_page_or_prints_numbers(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report", str(run_folder)]) == 0
    assert capsys.readouterr().out == f"{run_folder / 'report.html'}\n"
    assert "<html" in (run_folder / "report.html").read_text(encoding="utf-8")
    assert cli.main(["report", str(run_folder), str(run_folder), "--out", "two.html"]) == 0
    assert capsys.readouterr().out == "two.html\n"
    assert cli.main(["report", str(run_folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"]


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
def test_mistakes_about_runs(run_folder: Path, line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(run_folder.rglob("*"))
    assert cli.main(line.split()) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert words in output.err
    assert sorted(run_folder.rglob("*")) == before


def test_overrides_may_stand_anywhere() -> None:
    options, overrides = cli.parse(["train", "--agent.clip", "-1", "--game", "pong", "qbert", "--wandb.tags=a=b,c"])
    assert options.game == ["pong", "qbert"]
    assert overrides == {"agent.clip": "-1", "wandb.tags": "a=b,c"}


@pytest.mark.parametrize(
    "command", ["", "train", "sweep", "config", "evaluate", "report", "fit", "workspace", "games", "doctor"]
)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert "usage: rlgns" in capsys.readouterr().out


def test_a_reader_that_leaves_is_no_error() -> None:
    program = f"{sys.executable} -m rlgns games | head -n 1"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        ["bash", "-o", "pipefail", "-c", program], capture_output=True, env=environment, check=False
    )
    assert (finished.returncode, finished.stderr) == (0, b"")


def test_the_default_folder_is_named_after_game_or_experiment() -> None:
    from rlgns.commands.settings import default_out

    one = default_out(resolve(["quick"]))
    two = default_out(resolve(["quick"], {"run.games": "pong,qbert"}))
    assert (one.parts[0], one.name[:5], two.name[:6]) == ("runs", "pong-", "quick-")


def test_claimed_folder_is_made_and_may_exist_when_empty(tmp_path: Path) -> None:
    from rlgns.commands.settings import claim_folder

    claim_folder(tmp_path / "a" / "b")
    claim_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "x").touch()
    with pytest.raises(UserError, match="is not empty"):
        claim_folder(tmp_path / "a" / "b")


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (UserError("two\nlines"), 2, "rlgns: two lines\n"),
        (FaultError("the disk is full"), 3, "rlgns: the disk is full\n"),
        (KeyboardInterrupt(), 130, "rlgns: interrupted\n"),
    ],
)
def test_exit_codes(
    raised: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> int:
        raise raised

    monkeypatch.setattr(commands, "run", stop)
    assert cli.main(["games"]) == code
    assert capsys.readouterr().err == line
