"""Decides whether W&B runs are online: needs a login and a server that answers. Also quiets the client."""

from __future__ import annotations

import logging
import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Literal

Mode = Literal["online", "offline", "disabled"]

REACH_TIMEOUT_S = 10.0
"""Seconds to wait for any answer of the server."""


def choose_mode(wanted: str) -> tuple[Mode, str]:
    """Returns the mode for `wandb.mode`, and why.

    `auto` follows the variable WANDB_MODE where it is set. Online needs a login and a server that answers, and becomes
    offline without either.
    """
    for source, value in (("wandb.mode", wanted), ("WANDB_MODE", os.environ.get("WANDB_MODE", ""))):
        if value == "offline":
            return "offline", f"{source} is offline"
        if value == "disabled":
            return "disabled", f"{source} is disabled"
        if value == "online":
            break
    return online_or_offline()


def logged_in() -> bool:
    """Returns whether the client finds credentials (environment, netrc, settings), without prompting."""
    from wandb.sdk.lib import wbauth

    try:
        server = quiet_wandb().setup().settings.base_url
        found = wbauth.authenticate_session(host=server, source="rlgns", prompt=False, update_session=False)
    except Exception:  # A malformed key or settings file counts as no login.
        return False
    return found is not None


def quiet_wandb() -> Any:
    """Returns the client, set to print nothing: it advertises a product wherever it sees a package named `agents`."""
    _take_key_from_file()
    import wandb

    logging.raiseExceptions = False  # a full disk under W&B's own log would print a traceback per line of that log
    wandb.setup(settings=wandb.Settings(silent=True))
    return wandb


def _take_key_from_file() -> None:
    """Reads the key from the file in WANDB_API_KEY_FILE (a container's secret), a variable that W&B does not know.

    Only this process and its children then hold the key: Ray does not pass the driver's environment to workers.
    """
    path = os.environ.get("WANDB_API_KEY_FILE")
    if not path or os.environ.get("WANDB_API_KEY"):
        return
    try:
        key = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return  # No login; the run reports that.
    if key:
        os.environ["WANDB_API_KEY"] = key


def online_or_offline() -> tuple[Mode, str]:
    """Returns the mode that login and server allow, and why."""
    if not logged_in():
        return "offline", "not logged in, see `wandb login`"
    server = quiet_wandb().setup().settings.base_url
    try:
        with urllib.request.urlopen(server, timeout=REACH_TIMEOUT_S):
            pass
    except urllib.error.HTTPError:
        pass  # The server answers.
    except OSError as error:
        if not isinstance(
            getattr(error, "reason", error), ssl.SSLError
        ):  # W&B's own client may trust other certificates.
            return "offline", f"{server} cannot be reached"
    return "online", "logged in"
