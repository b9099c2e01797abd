"""A real Chromium, driven over its DevTools pipe: opens a page from disk, runs its scripts, takes screenshots."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "google-chrome", "chromium-browser") if (path := shutil.which(name))), ""
)
PATIENCE_S = 60
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)


DRAWN = "document.documentElement?.dataset.drawn === 'yes'"


class Browser:
    """One tab. `requests` holds the network addresses that its page requested, `errors` what went wrong in it."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer = reader, writer
        self._buffer, self._number, self._session = b"", 0, ""
        self.page: Path | None = None
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Runs one DevTools command and returns its result; handles events that arrive before it."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._event(answer)

    def open(self, page: Path, *, width: int = 1280, dark: bool = False, until: str = DRAWN) -> None:
        """Loads a page from disk and waits until it has drawn everything, or for another condition."""
        self.show(width=width, dark=dark)
        self.page, self.requests, self.errors = page, [], []
        self.call("Page.navigate", url=page.resolve().as_uri())
        self.wait(until)

    def show(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Sets the window size in pixels, and the preferred colour scheme."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def evaluate(self, expression: str) -> Any:
        """Returns the value of a JavaScript expression; awaits promises."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Waits until a JavaScript condition holds; fails after PATIENCE_S."""
        script = f"""new Promise((resolve) => {{
            setTimeout(() => resolve(false), {1000 * PATIENCE_S});
            const look = () => {{ ({condition}) ? resolve(true) : setTimeout(look, 20); }}; look(); }})"""
        assert self.evaluate(script), condition

    def text(self, selector: str) -> str:
        """Returns the text of the first element that matches a CSS selector."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")

    def enter(self, selector: str, value: str, event: str = "input") -> None:
        """Sets a control's value and fires the event that a user's input fires."""
        self.evaluate(
            f"""(() => {{ const control = document.querySelector({json.dumps(selector)});
            control.value = {json.dumps(value)}; control.dispatchEvent(new Event({json.dumps(event)})); }})()"""
        )

    def wait_for_file(self, path: Path) -> None:
        """Waits for a download; Chromium gives the file its name once it is complete."""
        while not path.exists():
            self._event(self._read())

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """Saves a PNG of the page."""
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(picture["data"]))

    def pdf(self, path: Path) -> None:
        """Saves the page as it would be printed."""
        path.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._reader, 1 << 16)
            assert part, "chromium has gone"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _event(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "about:")):
                self.requests.append(url)
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(json.dumps(params["entry"]))


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Starts a Chromium with an empty profile and ends it with the block."""
    # Chromium reads commands from descriptor 3 and answers on 4. Ours get high numbers, so that neither collides.
    (command_out, command_in), (answer_out, answer_in) = (_high(*os.pipe()) for _ in range(2))

    def connect() -> None:
        os.dup2(command_out, 3)
        os.dup2(answer_in, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [CHROMIUM, *QUIET, f"--user-data-dir={profile}/profile"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=connect,
            close_fds=False,
            env=os.environ | {"HOME": profile},
        )
        os.close(command_out)
        os.close(answer_in)
        try:
            yield Browser(answer_out, command_in)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
            os.close(command_in)
            os.close(answer_out)


def _high(*descriptors: int) -> list[int]:
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    return high
