"""Fixtures of the tests of installations: one build serves them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.installing import build_wheel, copy_of_sources


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_sources(tmp_path_factory.mktemp("source") / "rlgns")


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(source, tmp_path_factory.mktemp("wheel"))
