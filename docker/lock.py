"""Prints docker/requirements.txt: the exact versions that the image is built from.

They are those of the environment that runs this script, for the requirements of rlgns with its trainer and all of
theirs, so the image holds what the tests ran with:

    .venv/bin/python docker/lock.py > docker/requirements.txt
"""

from __future__ import annotations

import importlib.metadata
import sys

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rlgns.extras import TRAINER
from rlgns.submit.requirements import HEADLESS


def locked(name: str, extras: frozenset[str], seen: dict[str, set[str]]) -> dict[str, str]:
    """Returns versions by name of a distribution's requirements, with those of `extras`, and of all of theirs."""
    versions: dict[str, str] = {}
    for text in importlib.metadata.requires(name) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in (extras or {""})):
            continue
        child, wanted = canonicalize_name(requirement.name), {"", *requirement.extras}
        if wanted <= seen.get(child, set()):
            continue
        seen.setdefault(child, set()).update(wanted)
        # the image chooses the build of torch (+cpu, +cu128)
        versions[child] = importlib.metadata.version(child).partition("+")[0]
        versions |= locked(child, frozenset(wanted), seen)
    return versions


def main() -> int:
    """Prints the file."""
    print("# Made by docker/lock.py; do not edit.")  # noqa: T201
    for name, version in sorted(locked("rlgns", frozenset({TRAINER}), {}).items()):
        print(f"{HEADLESS.get(name, name)}=={version}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
