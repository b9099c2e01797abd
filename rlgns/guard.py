"""Start-up guard: `envs` and `agents` are common names; another package of that name must not be used in silence."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from rlgns.errors import UserError

OUR_PACKAGES = ("envs", "agents")


def check_packages() -> None:
    """Checks that `envs` and `agents` resolve beside `rlgns`. Looks them up without importing them.

    Raises:
        UserError: One is missing, or another package shadows it; says which and what to do.
    """
    home = Path(__file__).resolve().parents[1]
    for name in OUR_PACKAGES:
        found = _location(name)
        if found is None:
            raise UserError(f"package {name!r} is missing beside rlgns in {home}; install rlgns again")
        if found != home / name:
            raise UserError(
                f"package {name!r} is {found}{_owner(name, found)}, which shadows the one that rlgns needs in {home}; "
                f"{_remedy(name, found)}"
            )


def _location(name: str) -> Path | None:
    """Where `import name` would look: a package's folder or a module's file; None where there is nothing."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin else None


def _distributions(name: str) -> list[str]:
    """Installed distributions, other than rlgns, that bring a top-level package `name`."""
    import importlib.metadata  # slow, and needed only when something is wrong

    owners = importlib.metadata.packages_distributions().get(name, [])
    return sorted({owner for owner in owners if owner.lower() != "rlgns"})


def _owner(name: str, found: Path) -> str:
    owners = _distributions(name) if found.parent.name in ("site-packages", "dist-packages") else []
    return f" (distribution {', '.join(owners)})" if owners else ""


def _remedy(name: str, found: Path) -> str:
    if _owner(name, found):
        return f"run `pip uninstall {' '.join(_distributions(name))}`, or give rlgns a virtual environment of its own"
    return f"take {found.parent} off PYTHONPATH, or start rlgns from another folder"
