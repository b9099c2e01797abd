"""Runs cases, and checks of each: exit code 0 or 2, at most one line of error, no traceback, nothing half-written."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rlgns.commands import cli
from tests.fuzz.cases import KINDS

HANG_S = 20.0
"""CPU time after which a case is ended."""


class HangError(BaseException):
    """A case that takes too long; no handler of errors catches it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one case did."""

    kind: str
    seed: int
    words: list[str]
    code: int | None
    error: str
    """Standard error."""
    cpu_s: float
    fault: str = ""
    """Why the case fails; empty where it passes."""

    def __str__(self) -> str:
        return f"{self.kind}, seed {self.seed}: rlgns {' '.join(self.words)[:200]!r}: {self.fault}"


def run_case(kind: str, seed: int, *, hang_s: float = HANG_S) -> Outcome:
    """Runs one case in a folder of its own.

    Args:
        kind: One of KINDS.
        seed: Of everything random in it.
        hang_s: CPU time after which it is ended.
    """
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="rlgns-fuzz-") as name:
        folder = Path(name)
        words = KINDS[kind](random.Random(f"{kind} {seed}"), folder)
        os.chdir(folder)
        try:
            return _run(kind, seed, words, folder, hang_s)
        finally:
            os.chdir(before)


def _run(kind: str, seed: int, words: list[str], folder: Path, hang_s: float) -> Outcome:
    files = _contents(folder)
    # what a terminal or a pipe takes: half a character is an error
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace"))
    code, fault = None, ""
    start = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.filterwarnings("error", module="rlgns")
        try:
            with _ended_after(hang_s):
                code = int(cli.main(words))
                out.flush()
        except SystemExit as stop:  # --help
            code = int(stop.code or 0)
        except HangError:
            fault = f"more than {hang_s:g} s"
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            inner = next(
                (f for f in reversed(traceback.extract_tb(error.__traceback__)) if "/rlgns/" in f.filename), place
            )
            fault = (
                f"{type(error).__name__}: {str(error)[:100]} at {inner.filename.split('/rlgns/')[-1]}:{inner.lineno}"
            )
    cpu_s = time.process_time() - start
    texts = [stream.buffer.getvalue().decode(errors="replace") for stream in (out, err) if stream.flush() is None]
    fault = fault or _fault(words, code, *texts) or _half_written(words, code, files, _contents(folder))
    return Outcome(kind=kind, seed=seed, words=words, code=code, error=texts[1], cpu_s=cpu_s, fault=fault)


def _fault(words: list[str], code: int | None, out: str, err: str) -> str:
    if code not in (0, 2):
        return f"exit code {code}: {err[:100]}"
    if code == 2:
        if out:
            return f"printed {out[:60]!r} and then failed"
        if len(err.splitlines()) != 1 or not err.startswith("rlgns: "):
            return f"not one line of error: {err[:200]!r}"
        return "" if len(err) < 3000 else f"a message of {len(err)} characters"
    if err and words[0] != "evaluate":  # which says how many games are played
        return f"succeeded with {err[:100]!r}"
    if "--json" in words and "--help" not in words and words[0] != "config":
        json.loads(out, parse_constant=lambda name: _refuse(name))
    return ""


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _half_written(words: list[str], code: int | None, before: dict[Path, bytes], after: dict[Path, bytes]) -> str:
    """Returns what is wrong with the files: only a report that succeeds writes one."""
    new = {path.name for path in after if before.get(path) != after[path]} | {p.name for p in before if p not in after}
    expected = {"page.html"} if code == 0 and "page.html" in words and "--help" not in words else set()
    expected |= {"report.html"} if code == 0 and words[0] == "report" and "--json" not in words else set()
    return "" if new <= expected else f"wrote {sorted(new)}"


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextlib.contextmanager
def _ended_after(seconds: float) -> Iterator[None]:
    """Raises HangError in the block after so much CPU time."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise HangError

    old = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)
