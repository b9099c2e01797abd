"""Which requirements of rlgns a cluster lacks, by the distributions that a probe job finds there."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rlgns.machine.requirements import applies, trainer_requirements

HEADLESS = {"opencv-python": "opencv-python-headless"}
"""The same library in the same version without windows, which would bring X11 and OpenGL into an image."""

PROBE = (
    "import importlib.metadata as m, json, sys; "
    "print('RLGNS' + json.dumps({'python': '%d.%d' % sys.version_info[:2], "
    "'found': {d.name: d.version for d in m.distributions() if d.name}}))"
)
"""Python code that prints the version of Python and of every distribution."""


def parse_probe(log: str) -> tuple[str, dict[str, str]] | None:
    """Returns Python's version and those of distributions that a probe printed; None where the log has no answer."""
    for line in log.splitlines():
        if line.startswith("RLGNS{"):
            answer = json.loads(line.removeprefix("RLGNS"))
            return answer["python"], answer["found"]
    return None


def missing_requirements(found: Mapping[str, str], requirements: Sequence[str] | None = None) -> list[str]:
    """Returns the requirements that a cluster does not meet.

    Args:
        found: Versions by distribution, on the cluster.
        requirements: As in METADATA; None: those of rlgns with its trainer.
    """
    versions: dict[str, str] = {canonicalize_name(name): version.partition("+")[0] for name, version in found.items()}
    versions |= {whole: versions[headless] for whole, headless in HEADLESS.items() if headless in versions}
    direct = trainer_requirements() if requirements is None else _direct(requirements)
    missing = [requirement for requirement in direct if not _met(requirement, versions)]
    of_extras = [part for whole in direct if whole not in missing for part in _of_extras(whole)]
    missing += [part for part in of_extras if not _met(part, versions)]
    by_name: dict[str, Requirement] = {}
    for requirement in missing:  # a direct requirement comes before the same one of an extra
        by_name.setdefault(canonicalize_name(requirement.name), requirement)
    return [f"{one.name}{_extras(one)}{one.specifier}" for one in by_name.values()]


def _met(requirement: Requirement, versions: Mapping[str, str]) -> bool:
    version = versions.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _direct(texts: Sequence[str]) -> list[Requirement]:
    return [requirement for requirement in map(Requirement, texts) if applies(requirement)]


def _of_extras(requirement: Requirement) -> list[Requirement]:
    """Returns what a distribution needs for the extras asked for: it may be installed without them."""
    try:
        parts = [Requirement(text) for text in importlib.metadata.requires(requirement.name) or []]
    except importlib.metadata.PackageNotFoundError:
        return []
    return [
        part for part in parts for extra in sorted(requirement.extras) if not applies(part) and applies(part, extra)
    ]


def _extras(requirement: Requirement) -> str:
    return f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
