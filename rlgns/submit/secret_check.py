"""Refuses to send a key of this machine to a cluster, where everyone could read it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from rlgns.errors import UserError

PARTS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "APIKEY", "SSHKEY")
"""A variable whose name has one of these anywhere holds a key."""

WORDS = {"KEY", "KEYS", "PAT", "PASS", "PGPASS", "PWD", "PW"}
"""So does one that has one of these between underscores."""

NO_KEYS = {"PWD", "OLDPWD"}

KEY_FILES = (
    ".netrc",
    ".aws/credentials",
    ".cache/huggingface/token",
    ".git-credentials",
    ".huggingface/token",
    ".pypirc",
    ".ray/auth_token",
)
"""Files of the home folder that hold keys; those that a variable of such a name names are read as well."""

SHORTEST, SHORTEST_IN_FILES = 8, 16
"""Fewest characters of a key: shorter values occur by chance. Files also hold the names of hosts and regions."""

LARGEST_FILE = 1 << 16
"""Bytes; a larger file is no file of keys."""

_NETRC_PASSWORD = re.compile(r"\bpassword\s+(\S+)")
_VALUE = re.compile(r"""[^\s"'=:,;@{}\[\]\\]+(?![^\s"'=:,;@{}\[\]\\]|["']?\s*[=:])""")
"""A word that is not the name of what follows it, in JSON, YAML, INI or an address."""


def refuse_secrets(texts: Mapping[str, str], environment: Mapping[str, str] | None = None) -> None:
    """Checks that no text holds a key: of the environment, or of the files where keys are kept.

    Args:
        texts: What is sent, by its name for the message.
        environment: Variables; None: those of this process.

    Raises:
        UserError: One of them does; the message says where the key is from, never what it is.
    """
    for source, key in _keys(os.environ if environment is None else environment):
        for where, text in texts.items():
            if len(key) >= SHORTEST and key in text:
                raise UserError(
                    f"{where} holds {source}, which everyone on the cluster could read; leave it out, and log in on "
                    "the cluster's nodes (docs/cluster.md)"
                )


def _keys(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields every key, with where it is from."""
    home = Path(environment.get("HOME") or "/nonexistent")
    files = [home / name for name in KEY_FILES] + [Path(environment.get("NETRC") or home / ".netrc")]
    for name, value in environment.items():
        if _names_a_key(name):
            if _exists(value):
                files.append(Path(value))
            else:
                yield f"the value of {name}", value
    for file in dict.fromkeys(files):
        text = _text(file)
        if file.name.endswith("netrc"):
            found = _NETRC_PASSWORD.findall(text)
        else:
            found = [word for word in _VALUE.findall(text) if len(word) >= SHORTEST_IN_FILES]
        yield from ((f"a key of {file}", key) for key in found)


def _names_a_key(variable: str) -> bool:
    name = variable.upper()
    if name in NO_KEYS:
        return False
    return any(part in name for part in PARTS) or not WORDS.isdisjoint(re.split("[^A-Z0-9]+", name))


def _exists(value: str) -> bool:
    try:
        return value.startswith("/") and Path(value).exists()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False


def _text(file: Path) -> str:
    try:
        if not file.is_file() or file.stat().st_size > LARGEST_FILE:
            return ""
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
