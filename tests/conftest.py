"""What all tests share."""

import gc
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

# Read when torch or NumPy is first imported, here or in a child: one thread, so that a test computes the same
# numbers everywhere.
os.environ["OMP_NUM_THREADS"] = "1"

GOLDEN = Path(__file__).parent / "golden"
SHARED = Path(__file__).parents[2] / "shared"


def _shared(folder: str) -> Path:
    path = SHARED / folder
    if not path.is_dir():
        pytest.skip(f"no ../shared/{folder} beside the repository")
    return path


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of small data files that tests compare with; its README says where they come from."""
    return GOLDEN


@pytest.fixture(scope="session")
def published_rows() -> dict[str, dict[str, Any]]:
    """The rows of the papers' tables of results, each recomputed with the authors' networks, by their ids."""
    files = sorted((GOLDEN / "published").glob("*.json"))
    return {row["id"]: row for file in files for row in json.loads(file.read_text())}


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """The folder of networks and tensors recorded from the authors' own code."""
    return _shared("golden")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images and trained weights."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_by_workers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this test run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session", autouse=True)
def _own_cache(shared_by_workers: Path) -> Iterator[None]:
    """What earlier commands of the user found out is neither used nor added to; workers share it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_CACHE", str(shared_by_workers / "cache"))
        yield


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `digits` be 300 images, 240 of them to train on, for tests that train and ask not how well."""
    from prune.engine.data import digits

    pixels_NHW, labels_N = digits._read()
    monkeypatch.setattr(digits, "_read", lambda: (pixels_NHW[:300], labels_N[:300]))


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what was imported, and look less often for what exports leave."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def pytest_unconfigure() -> None:
    """Let what was imported be taken apart at the end."""
    gc.unfreeze()


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start: a shell ignores it for all that it runs in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def shared_exports() -> Iterator[None]:
    """Let networks that are alike be exported once."""
    if os.environ.get("PRUNE_EXPORT_ALWAYS") == "1":
        yield
        return
    from exports import sharing, sharing_of_inputs
    from prune.engine.compensation import program
    from prune.engine.graph import trace

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "export", sharing(trace.export))
        patch.setattr(program, "_exported", sharing_of_inputs(program._exported))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_warm_process(shared_by_workers: Path) -> Iterator[None]:
    """Let all workers fork from one process, which ends with the last of them."""
    import warm

    warm.place = shared_by_workers / "warm"
    yield
    warm.close()
