"""What `import rlgns` offers, and what it costs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import rlgns

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", rlgns.__all__)
def test_every_public_name_is_there_documented_and_hidden_by_no_module(name: str) -> None:
    assert getattr(rlgns, name).__doc__
    assert name in dir(rlgns)
    assert importlib.util.find_spec(f"rlgns.{name}") is None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'rlgns' has no attribute 'trian'"):
        rlgns.trian  # noqa: B018


def test_importing_rlgns_imports_nothing_heavy_and_commands_hide_no_name() -> None:
    program = (
        "import sys, rlgns; "
        "heavy = {'torch', 'ray', 'numpy', 'scipy', 'yaml', 'wandb'} & set(sys.modules); assert not heavy, heavy; "
        "import rlgns.commands.train, rlgns.python.train; assert rlgns.train.__name__ == 'train', rlgns.train"
    )
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
