"""What every test leaves behind as it found it."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("no clock", deadline=None)  # a busy machine is no failure
settings.load_profile("no clock")


@pytest.fixture(autouse=True)
def denormal_numbers() -> Iterator[None]:
    """Training flushes denormal numbers to zero, for its whole process; hypothesis rightly objects to that."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)
