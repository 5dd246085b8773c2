"""What the authors' own code made of a ResNet-56, and that network."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prune.engine.events import Event, Note
from prune.engine.jobs.job import Job, Pruning, Untrained
from prune.engine.jobs.prepare import prepare
from prune.engine.jobs.run import run_pruning
from prune.engine.narrowing.outcome import Outcome
from prune.engine.network.files import load_network
from prune.engine.network.network import Network
from prune.engine.network.sources import Images
from prune.engine.sketching.rates import SketchRates
from prune.engine.transfers.sketch import Sketch


@pytest.fixture(scope="session")
def recorded(shared_golden: Path) -> dict[str, np.ndarray]:
    """Every array that was recorded of `[0.6]*27`."""
    with np.load(shared_golden / "authors" / "filtersketch_resnet56_0.6.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def resnet56(shared_data: Path) -> Network:
    """The network that was sketched then."""
    return load_network(shared_data / "weights" / "resnet56-4bfd9763.th", "resnet56")


def sketching(
    network: Network,
    keep_rate: str,
    *,
    start_conv: str = "1",
    data: bool = False,
    recalibration: int = 20,
    batch_size: int = 128,
    **transfer: Any,
) -> Iterator[Event]:
    """The events of sketching a network that is in memory, measured on `digits` where `data` is wanted."""
    job = Job(
        command="prune",
        images=Images("digits" if data else None),
        config=Untrained(batch_size=batch_size, device="cpu"),
        recalibration=recalibration,
        pruning=Pruning(
            allocation=SketchRates(keep_rate=keep_rate, start_conv=start_conv), transfer=Sketch(**transfer)
        ),
    )
    return run_pruning(prepare(job, network))


@pytest.fixture
def sketch() -> Callable[..., tuple[list[str], Outcome]]:
    """Sketches a network, settings given by name; the notes that were made, and what came of it."""

    def finish(network: Network, keep_rate: str, **settings: Any) -> tuple[list[str], Outcome]:
        events, notes = sketching(network, keep_rate, **settings), []
        while True:
            try:
                event = next(events)
            except StopIteration as stop:
                return notes, stop.value
            notes += [event.text] if isinstance(event, Note) else []

    return finish
