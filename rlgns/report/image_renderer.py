"""Renders figures as images in a child process, which can be killed: a hanging browser would block its caller."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rlgns.errors import FaultError, UserError
from rlgns.storage.files import reason

START_S, IMAGE_S = 120.0, 10.0
"""Seconds allowed for a browser to start and for each image; an idle machine needs a tenth of them."""

TRIES = 2
NO_BROWSER, NOT_WRITTEN, NOT_DRAWN = 3, 4, 5
"""Exit codes of the child process."""


def render(jobs: Sequence[Mapping[str, Any]]) -> None:
    """Renders with the installed Chromium through kaleido.

    Args:
        jobs: kaleido's fig, path and opts of each image; JSON types only.

    Raises:
        UserError: No browser is installed, or an image cannot be written.
        FaultError: The browser failed, or did not answer in time twice.
    """
    patience_s = START_S + IMAGE_S * len(jobs)
    for _ in range(TRIES):
        with subprocess.Popen(
            [sys.executable, "-c", f"import sys, {__name__} as renderer; sys.exit(renderer.main())"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                _, errors = process.communicate(json.dumps(list(jobs)), timeout=patience_s)
            except subprocess.TimeoutExpired:
                continue
            finally:
                if process.poll() is None:  # the id of an ended process may be reused
                    _end(process.pid)
        if not process.returncode:
            return
        why = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        if process.returncode in {NO_BROWSER, NOT_WRITTEN}:
            raise UserError(why)
        raise FaultError(f"the browser could not draw the figures: {why}")
    raise FaultError(f"the browser could not draw the figures: no answer within {patience_s:.0f} s, {TRIES} times")


def _end(pid: int) -> None:
    """Kills a process and its children: the browser runs in its own session."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def main() -> int:
    """Renders the jobs on standard input. Returns the exit code; the last line on standard error says what failed."""
    import kaleido
    from kaleido.errors import ChromeNotFoundError

    try:
        kaleido.write_fig_from_object_sync(json.load(sys.stdin), kopts={"n": 1}, cancel_on_error=True)
    except ChromeNotFoundError:
        code = NO_BROWSER
        why = "--figures draws with Chrome or Chromium, and none was found; on Debian or Ubuntu: apt install chromium"
    except OSError as error:
        code, why = NOT_WRITTEN, f"cannot write {error.filename or 'the figures'}: {reason(error)}"
    except Exception as error:  # from the browser, kaleido or the link between them
        code, why = NOT_DRAWN, str(error) or type(error).__name__
    else:
        return 0
    print(why, file=sys.stderr)  # noqa: T201
    return code
