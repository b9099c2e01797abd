"""Jobs on a real Ray head: submit, follow, stop, attach again, and follow over a connection that breaks."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import pytest
import requests

from rlgns.storage.run_folder import RunFolder
from rlgns.submit.client import JobsClient
from rlgns.submit.follower import JobFollower
from tests.rlgns.submit.conftest import NODE_KEY, Head, free_port

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT_KEY = "fedcba9876543210fedcba9876543210fedcba98"
NETRC_KEY = "aaaabbbbccccddddeeeeffff0000111122223333"
_TINY = "--config quick --env.num_envs 4 --agent.rollout_steps 8 --agent.minibatches 2 --env.stagger_steps 0"
TINY = _TINY.split()


def start(head: Head, tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """Starts `rlgns submit` as a user with two W&B keys: in the environment and in ~/.netrc."""
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai login user password {NETRC_KEY}\n")
    environment = os.environ | {
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "WANDB_API_KEY": ENVIRONMENT_KEY,
        "RAY_ADDRESS": "127.0.0.1:1",  # --address wins
        "RAY_AUTH_MODE": "disabled",
    }
    command = [sys.executable, "-m", "rlgns", "submit", "--address", head.url, *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )


def files_with(folder: Path, key: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


def test_a_stopped_job_saves_and_no_key_is_visible(head: Head, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("base: quick\nrun:\n  seed: 7\n")
    tiny = ["--config", str(config), *TINY[2:]]
    submitted = start(head, tmp_path, "--no-wait", "--", "train", "--observations", "100000000", *tiny)
    out, err = submitted.communicate(timeout=300)
    assert submitted.returncode == 0, err
    assert "asks for no password" in err
    job = next(word for word in err.split() if word.startswith("rlgns-pong-"))

    following = start(head, tmp_path, "--job", job)
    assert following.stdout is not None
    shown = read_until(following.stdout, "observations/s")
    following.send_signal(signal.SIGINT)
    rest, messages = following.communicate(timeout=300)
    assert following.returncode == 130, shown + rest + messages
    assert "stopping the job" in messages and "the job was stopped" in messages
    assert "saved; resume with: rlgns train --resume" in rest

    (folder,) = RunFolder.find(head.runs)
    assert folder.config()["run"]["seed"] == 7
    assert folder.last_iteration() == int(sorted(os.listdir(folder.checkpoints_path))[-1])

    details = requests.get(f"{head.url}/api/jobs/{job}", timeout=20).text
    assert '"STOPPED"' in details
    check_that_no_key_is_visible(head, details + out + err + shown + rest + messages)
    assert "logged in" not in shown  # the node's key was found ...
    assert "cannot be reached" in (shown + rest) or "offline" in (shown + rest)  # ... and its server not


@pytest.mark.cluster
def test_a_sweep_continues_without_its_follower(head: Head, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "base: quick\nrun: {games: [pong], observations: 64}\nenv: {stagger_steps: 0}\n"
        "agent: {rollout_steps: 8, minibatches: 2, epochs: 1, anneal: false}\nwandb: {mode: auto}\n"
        "sweep: {batches: [16, 32], goals: [-1000], learning_rates: 1, widenings: 0}\n"
    )
    out = head.folder / "swept"
    following = start(head, tmp_path, "--", "sweep", "--config", str(config), "--out", str(out), "--parallel", "2")
    assert following.stderr is not None
    said = read_until(following.stderr, "attach to it again with")
    following.kill()
    said += "".join(following.communicate(timeout=60))
    job = next((word for word in said.split() if word.startswith("rlgns-pong-")), "")
    assert job, said

    shown, messages = start(head, tmp_path, "--job", job).communicate(timeout=300)
    details = requests.get(f"{head.url}/api/jobs/{job}", timeout=20).text
    assert '"SUCCEEDED"' in details, shown + messages
    folders = RunFolder.find(out / "runs")
    assert [folder.path.name.split("-lr")[0] for folder in folders] == ["pong-b16", "pong-b32"]
    assert all(folder.last_row()["observations"] >= 64 for folder in folders)  # type: ignore[index]
    assert (out / "points.csv").is_file() and (out / "report.html").is_file()
    assert all(list(folder.wandb_path.glob("offline-run-*")) for folder in folders)
    check_that_no_key_is_visible(head, details + said + shown + messages)


def trained_by(node: subprocess.Popen[bytes]) -> str:
    """Returns the Ray actors of a run on a node."""
    titles = []
    for process in psutil.Process(node.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            titles += [word for word in process.cmdline()[0].split(".")[:1] if word.startswith("ray::Atari")]
    return ", ".join(titles)


def read_until(stream: IO[str], text: str) -> str:
    """Reads lines until one has that text, or to the end; returns what it read."""
    read = ""
    for line in stream:
        read += line
        if text in line:
            break
    return read


@pytest.mark.cluster
def test_a_job_on_three_nodes_is_followed_stopped_and_resumed(head_of_three: Head, tmp_path: Path) -> None:
    head, out = head_of_three, head_of_three.folder / "three"
    train = ("--out", str(out), "--runners", "2", "--observations", "100000000")
    following = start(head, tmp_path, "--", "train", *train, *TINY)
    assert following.stdout is not None and following.stderr is not None
    printed = read_until(following.stderr, "attach to it again with")
    job = next((word for word in printed.split() if word.startswith("rlgns-pong-")), "")
    assert job, printed
    printed += read_until(following.stdout, "observations/s")
    assert sorted(trained_by(node) for node in head.nodes) == ["ray::AtariPPO", *["ray::AtariRunner"] * 2], printed
    following.kill()  # as if its machine had lost power
    printed += "".join(following.communicate(timeout=60))

    attached = start(head, tmp_path, "--job", job)
    assert attached.stdout is not None
    printed += read_until(attached.stdout, "observations/s")
    attached.send_signal(signal.SIGINT)
    rest, messages = attached.communicate(timeout=300)
    assert attached.returncode == 130, printed + rest + messages
    assert "saved; resume with: rlgns train --resume" in rest, printed + rest + messages
    before = RunFolder(out).last_iteration()

    again = start(head, tmp_path, "--", "train", "--resume", str(out))
    assert again.stdout is not None
    printed += rest + messages + read_until(again.stdout, "observations/s")
    again.send_signal(signal.SIGINT)
    printed += "".join(again.communicate(timeout=300))
    assert again.returncode == 130, printed
    iterations = [row["iteration"] for row in RunFolder(out).rows()]
    assert iterations == list(range(1, len(iterations) + 1)) and len(iterations) > before

    short = start(head, tmp_path, "--", "train", "--runners", "2", "--observations", "64", *TINY)
    printed += "".join(short.communicate(timeout=300))
    assert short.returncode == 0, printed
    check_that_no_key_is_visible(head, printed)


def check_that_no_key_is_visible(head: Head, printed: str) -> None:
    """Checks what was printed and every file: logs, packages and session of Ray, the runs, their W&B files."""
    for key in (ENVIRONMENT_KEY, NETRC_KEY, NODE_KEY):
        assert key not in printed
        assert set(files_with(head.folder, key)) == ({head.folder / "key"} if key == NODE_KEY else set())


def test_the_exit_status_of_the_command_is_returned(head: Head, tmp_path: Path) -> None:
    failing = start(head, tmp_path, "--", "train", "--out", "/proc/rlgns", *TINY)
    out, err = failing.communicate(timeout=300)
    assert failing.returncode == 2, err
    assert "cannot be written" in out


@pytest.mark.cluster
def test_a_job_that_never_starts_reports_what_it_waits_for_and_why_it_failed(head: Head) -> None:
    pip = {"packages": ["rlgns-does-not-exist==1.0"], "pip_install_options": ["--no-index"]}
    client, messages = JobsClient(head.url), list[str]()
    job = client.submit_job(entrypoint="true", runtime_env={"pip": pip})
    assert JobFollower(client, job, messages.append, check_s=0.5).follow() == 3
    assert "runtime environment to be set up" in messages[0]
    (why,) = [line for line in messages if line.startswith("the job failed before its command started: ")]
    assert "runtime_env setup failed" in why
    assert why.endswith("No matching distribution found for rlgns-does-not-exist==1.0")
    assert len(messages) == 2


def test_mistakes_are_refused_before_anything_is_sent(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rlgns.commands import cli

    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", head.url)
    monkeypatch.setenv("SOME_API_KEY", "sesame-open")
    leaking = tmp_path / "leaking.yaml"
    leaking.write_text("base: quick\nrun: {name: sesame-open}\nsweep: {batches: [256], goals: [1]}\n")
    before = len(requests.get(f"{head.url}/api/jobs/", timeout=20).json())
    for arguments, text in {
        ("--", "train", "--game", "pongg"): "did you mean pong?",
        ("--", "trian"): "did you mean train?",
        ("--", "train", "--out", "runs/x"): "is relative",
        ("--", "train", "--resume", "runs/x"): "is relative",
        ("--", "train", "--out", "/shared/sesame-open"): "holds the value of SOME_API_KEY",
        ("--", "sweep", "--config", str(leaking)): "leaking.yaml holds the value of SOME_API_KEY",
        ("--", "sweep", "--config", "breakout-quick", "--resume", "/x"): "leave out --config",
        ("train",): "unknown argument",
        (): "needs a command behind --",
        ("--job", "rlgns-none"): "there is no job 'rlgns-none'",
        ("--job", "x", "--", "train"): "leave out the command",
    }.items():
        assert cli.main(["submit", *arguments]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if "warning:" not in line]
        assert len(lines) == 1 and text in lines[0]
    assert len(requests.get(f"{head.url}/api/jobs/", timeout=20).json()) == before


def carry(ends: tuple[socket.socket, socket.socket]) -> None:
    """Forwards bytes between two connections until one is closed."""
    other = dict(zip(ends, reversed(ends), strict=True))
    with contextlib.suppress(OSError, ValueError):
        while True:
            for end in select.select(ends, [], [])[0]:
                data = end.recv(65536)
                if not data:
                    raise OSError
                other[end].sendall(data)
    for end in ends:
        end.close()


@contextmanager
def proxy(target: int, port: int) -> Iterator[None]:
    """Forwards TCP connections until the block ends, then cuts them all."""
    ends: list[socket.socket] = []
    server = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                pair = (server.accept()[0], socket.create_connection(("127.0.0.1", target)))
                ends.extend(pair)
                threading.Thread(target=carry, args=(pair,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield
    for end in (server, *ends):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    server.close()


def test_a_broken_connection_neither_loses_nor_repeats_lines(
    head: Head, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    port, gate = free_port(), tmp_path / "gate"
    target = int(head.url.rpartition(":")[2])
    direct = JobsClient(head.url)
    script = f"for i in $(seq 1 200); do echo line $i; done; until [ -e {gate} ]; do sleep 0.1; done; echo last; exit 5"
    job = direct.submit_job(entrypoint=script)
    messages: list[str] = []
    codes: list[int] = []
    with proxy(target, port):
        follower = JobFollower(JobsClient(f"http://127.0.0.1:{port}"), job, messages.append)
        main = threading.Thread(target=lambda: codes.append(follower.follow(attach=True)))
        seen = ""
        main.start()
        while "line 200\n" not in seen:
            seen += capfd.readouterr().out
            main.join(0.05)
            assert main.is_alive() or "line 200\n" in seen
    while not any("connection lost" in message for message in messages):
        main.join(0.05)
        assert main.is_alive()
    gate.touch()
    with proxy(target, port):
        main.join(120)
    seen += capfd.readouterr().out
    assert codes == [5]
    lines = [line for line in seen.splitlines() if line.startswith(("line", "last"))]
    assert lines == [*(f"line {number}" for number in range(151, 201)), "last"] or lines == [
        *(f"line {number}" for number in range(1, 201)),
        "last",
    ]
