"""The program `rlgns` itself: help, exit codes, and what it costs to start it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlgns.commands import cli, games
from rlgns.errors import ExitCode, FaultError, TerminatedError, UserError

ROOT = Path(__file__).resolve().parents[3]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command in a process that finds rlgns in this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("command", ["", *cli.COMMANDS])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*command.split(), "--help"])
    assert caught.value.code == 0
    assert f"usage: {f'rlgns {command}'.strip()} " in capsys.readouterr().out


def test_the_list_of_commands_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, command in cli.COMMANDS.items():
        assert f" {name} {command.SUMMARY}" in text


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (UserError("two\nlines"), 2, "rlgns: two lines\n"),
        (FaultError("the disk is full"), 3, "rlgns: the disk is full\n"),
        (KeyboardInterrupt(), 130, "rlgns: interrupted\n"),
        (TerminatedError(), 143, "rlgns: terminated\n"),
        (TerminatedError(ExitCode.HUNG_UP), 129, "rlgns: terminated\n"),
    ],
)
def test_exit_codes(
    raised: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> int:
        raise raised

    monkeypatch.setattr(games, "run", stop)
    assert cli.main(["games"]) == code
    assert capsys.readouterr().err == line


def test_the_real_command_fails_without_a_traceback() -> None:
    finished = run(sys.executable, "-m", "rlgns", "train", "--game", "breakot")
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == (
        "rlgns: run.games: unknown game 'breakot' (did you mean breakout?); `rlgns games` lists all 57\n"
    )


def test_light_commands_import_nothing_heavy() -> None:
    program = (
        "import sys; from rlgns.commands.cli import main; assert main(['games']) == 0; "
        "heavy = {'torch', 'ray', 'wandb', 'plotly', 'numpy', 'yaml'} & set(sys.modules); assert not heavy, heavy"
    )
    finished = run(sys.executable, "-c", program)
    assert finished.returncode == 0, finished.stderr


def test_openmp_threads_do_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert cli.main(["games"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_a_reader_that_leaves_is_no_error() -> None:
    finished = run("bash", "-o", "pipefail", "-c", f"{sys.executable} -m rlgns games | head -n 1")
    assert (finished.returncode, finished.stderr) == (0, "")
