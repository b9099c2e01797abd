"""Settings and fixtures of all tests."""

import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under `nohup` it is ignored, which commands respect and tests inherit

settings.register_profile("no clock", deadline=None)  # a busy machine must not fail a test
settings.load_profile("no clock")


@pytest.fixture(autouse=True)
def denormal_numbers() -> Iterator[None]:
    """Restores denormal numbers after a test: training flushes them to zero, which hypothesis does not accept."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray for the tests of one process."""
    import ray  # takes a second, which most tests need not pay

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()
