"""What all tests share."""

import os
import signal
from pathlib import Path

import pytest

# Read when torch or NumPy is first imported, here or in a child: one thread, so that a test computes the same
# numbers everywhere.
os.environ["OMP_NUM_THREADS"] = "1"

SHARED = Path(__file__).parents[2] / "shared"


def _shared(folder: str) -> Path:
    path = SHARED / folder
    if not path.is_dir():
        pytest.skip(f"no ../shared/{folder} beside the repository")
    return path


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """The folder of numbers recorded from the authors' own code."""
    return _shared("golden")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images and trained weights."""
    return _shared("data")


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start: a shell ignores it for all that it runs in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
